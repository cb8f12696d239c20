#!/bin/sh
# What each question to a PostgreSQL store costs as it grows: pages of the database that its statements look at, and milliseconds, at
# 1,000 to 1,000,000 messages. Some minutes. The numbers of a run stand in docker/DEGRADED.md: nothing fails here but what
# does not work.
# Needs SWITCHBOARD_TEST_POSTGRES, which tests/run --full sets. Run from anywhere: tests/full/growth.sh
set -eu
cd "$(dirname "$0")/../.."
: "${SWITCHBOARD_TEST_POSTGRES:?names no server}"
SWITCHBOARD_TEST_SIZES="${SWITCHBOARD_TEST_SIZES:-1000,10000,100000,1000000}" \
    cargo test -p tests --test it -- --nocapture --test-threads=1 size::postgres::growth
