# Read by the scripts beside it (`source`). A podman that works as root without systemd, without Docker's engine and where the
# kernel refuses to raise limits; its images, containers and networks are in $scratch and go with it.
# shellcheck shell=bash

# Installs the packages whose commands are missing: `need podman:podman iptables:iptables` (command:package).
need() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "please install: ${packages[*]}" >&2
        return 1
    fi
    printf '==> Installing %s\n' "${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # What is known of the packages may be too old to fetch them.
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null
}

# Sets podman up in $1. Its configuration is in the environment: every podman of this run finds it.
podman_in() {
    local folder=$1
    mkdir -p "$folder/networks" "$folder/tmp"
    cat >"$folder/containers.conf" <<END
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$folder/tmp"
[network]
network_backend = "netavark"
network_config_dir = "$folder/networks"
END
    cat >"$folder/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$folder/storage"
runroot = "$folder/run"
END
    export CONTAINERS_CONF="$folder/containers.conf" CONTAINERS_STORAGE_CONF="$folder/storage.conf"
    # Health checks are timers of systemd: without it they are run by hand.
    export DISABLE_HC_SYSTEMD=true
}

# Ends and removes what this run's podman has.
podman_away() {
    podman rm --all --force --time 1 >/dev/null 2>&1 || true
    podman network prune --force >/dev/null 2>&1 || true
    podman volume prune --force >/dev/null 2>&1 || true
    podman rmi --all --force >/dev/null 2>&1 || true
}
