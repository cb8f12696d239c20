#!/bin/sh
# Two gateways behind nginx under 500 streams that drop and resume: a rolling restart of both, and a kill of one.
# Two minutes. Run from anywhere: tests/full/rolling.sh
set -eu
cd "$(dirname "$0")/../.."
SWITCHBOARD_TEST_FULL=1 cargo test -p tests --test it -- --nocapture --test-threads=1 rolling::
