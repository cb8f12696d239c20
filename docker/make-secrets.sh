#!/bin/sh
# Makes the secrets of compose.cluster.yaml in docker/secrets, a file each. What is there already stays as it is.
#
#   docker/make-secrets.sh              asks for the provider's key, or takes GPTUNNEL_API_KEY from the environment
#   docker/make-secrets.sh --simulated  for simulated providers
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# keep NAME VALUE. The folder keeps others of this machine out; in a container the file is mounted alone, and read by its own user.
keep() {
    [ -e "secrets/$1" ] || printf '%s\n' "$2" >"secrets/$1"
    chmod 444 "secrets/$1"
}

if [ "${1:-}" = --simulated ]; then
    GPTUNNEL_API_KEY=sim-key
elif [ -z "${GPTUNNEL_API_KEY:-}" ] && [ ! -e secrets/gptunnel-api-key ]; then
    printf 'The key of GPTunnel: ' >&2
    read -r GPTUNNEL_API_KEY
fi
keep gptunnel-api-key "${GPTUNNEL_API_KEY:-}"
keep client-key "$(random)"
keep grafana-password "$(random)"
keep postgres-password "$(random)"
keep store-url "postgres://switchboard:$(cat secrets/postgres-password)@postgres/switchboard"
redis=$(random)
keep redis-url "redis://:$redis@redis:6379"
# The password that is in force, also where the file was there before.
redis=$(sed 's|redis://:\(.*\)@.*|\1|' secrets/redis-url)
keep redis-conf "bind * -::*
protected-mode yes
requirepass $redis
save \"\"
appendonly no
dir /data
maxmemory 384mb
maxmemory-policy noeviction"
echo 'docker/secrets: your application authenticates with what is in client-key' >&2
