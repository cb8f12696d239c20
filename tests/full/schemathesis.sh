#!/usr/bin/env bash
# The API against its own description: schemathesis, with all checks, in at least 5,000 cases.
# Starts a demo of its own; needs Python 3.10 or later, and installs the rest by itself. Run from anywhere: tests/full/schemathesis.sh
# SWITCHBOARD_TEST_SEED and SWITCHBOARD_TEST_EXAMPLES ask for other cases, or for more.
set -euo pipefail
cd "$(dirname "$0")/../.."

cases_min=5000
scratch=$(mktemp -d "${TMPDIR:-/tmp}/switchboard-schemathesis.XXXXXX")
demo=''
finish() {
    local code=$?
    trap - EXIT INT TERM
    if [ -n "$demo" ]; then
        kill -TERM "$demo" 2>/dev/null || true
        wait "$demo" 2>/dev/null || true
    fi
    rm -rf "$scratch"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! python3 -m venv "$scratch/venv" 2>/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo 'schemathesis.sh: please install python3 with its venv module' >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
    rm -rf "$scratch/venv"
    python3 -m venv "$scratch/venv"
fi
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5 openapi-spec-validator==0.9.0

cargo build --locked --quiet -p cli
program=${CARGO_TARGET_DIR:-target}/debug/switchboard
"$program" openapi >"$scratch/openapi.json"
"$scratch/venv/bin/python" -m openapi_spec_validator "$scratch/openapi.json"

"$program" demo --listen 127.0.0.1:0 --pace instant >"$scratch/demo" 2>"$scratch/log" &
demo=$!
for _ in $(seq 300); do
    grep -q 'Ctrl-C ends' "$scratch/demo" && break
    kill -0 "$demo" 2>/dev/null || { cat "$scratch/demo" "$scratch/log" >&2; exit 1; }
    sleep 0.1
done
field() { awk -v name="$1" '$1 == name { print $2; exit }' "$scratch/demo"; }
clients=$(field address)
admins=$(field metrics)
admins=${admins%/metrics}
key=$(field key)

# Asks one listener for what is its own; the other arguments choose that.
ask() {
    local url=$1 examples=$2
    shift 2
    SCHEMATHESIS_HOOKS=hooks PYTHONPATH=tests/full/schemathesis NO_COLOR=1 "$scratch/venv/bin/schemathesis" \
        --config-file tests/full/schemathesis/schemathesis.toml \
        run "$scratch/openapi.json" --url "$url" -H "Authorization: Bearer $key" \
        --checks all --max-examples "$examples" --workers 1 --request-timeout 30 --no-shrink --seed "${SWITCHBOARD_TEST_SEED:-1}" \
        --generation-database none "$@" | tee -a "$scratch/told"
}
ask "$clients" "${SWITCHBOARD_TEST_EXAMPLES:-160}" --exclude-path-regex '^/(admin|metrics)'
ask "$admins" 60 --include-path-regex '^/(admin|metrics)'

kill -0 "$demo" || { echo 'schemathesis.sh: the gateway has ended' >&2; cat "$scratch/log" >&2; exit 1; }
if grep -qi panic "$scratch/log"; then
    cat "$scratch/log" >&2
    exit 1
fi
cases=$(awk '/generated/ { for (i = 1; i < NF; i++) if ($(i + 1) ~ /^generated/) sum += $i } END { print sum + 0 }' "$scratch/told")
echo "schemathesis.sh: $cases cases"
[ "$cases" -ge "$cases_min" ] || { echo "schemathesis.sh: fewer than $cases_min cases" >&2; exit 1; }
