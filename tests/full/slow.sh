#!/usr/bin/env bash
# 9,500 clients that connect and do not get on, at once. Less than a minute. Run from anywhere: tests/full/slow.sh
set -eu
cd "$(dirname "$0")/../.."
ulimit -n "$(ulimit -Hn)"
SWITCHBOARD_TEST_FULL=1 cargo test -p tests --test it -- --nocapture --test-threads=1 smoke::slow::
