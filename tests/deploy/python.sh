# Read by scripts (`source`): programs of the Python package index, in a folder that goes afterwards.
# shellcheck shell=bash

# Installs what a file lists into a folder, and puts its programs first on the path: python_in FOLDER REQUIREMENTS.
python_in() {
    local folder=$1 requirements=$2
    if command -v uv >/dev/null; then
        uv venv --quiet "$folder"
        uv pip install --quiet --python "$folder/bin/python" --requirement "$requirements"
    else
        if ! python3 -m venv "$folder" 2>/dev/null; then
            if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
                echo 'please install python3 with its venv module' >&2
                return 1
            fi
            export DEBIAN_FRONTEND=noninteractive
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv; } >/dev/null
            rm -rf "$folder"
            python3 -m venv "$folder"
        fi
        "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    fi
    PATH=$folder/bin:$PATH
}
