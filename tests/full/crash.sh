#!/bin/sh
# Turns that survive, at full length: twenty kills under 200 streams each, a thousand random conversations against the model.
# Some minutes. Run from anywhere: tests/full/crash.sh
set -eu
cd "$(dirname "$0")/../.."
SWITCHBOARD_TEST_FULL=1 cargo test -p tests --test it -- --nocapture --test-threads=1 crash:: model:: engine::points::
