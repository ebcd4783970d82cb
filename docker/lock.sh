#!/bin/sh
# Renews the lock files of the image: pip-compile's format, one set for all Pythons and machines, a
# hash for every file, and no host named. uv does it, in a folder of its own.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv

lock() { # lock FROM TO
    "$work/venv/bin/uv" pip compile "$1" --output-file "$2" --quiet --upgrade \
        --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-emit-index-url --no-emit-find-links \
        --custom-compile-command 'make lock'
}

lock pyproject.toml docker/requirements.lock
lock docker/build.in docker/build.lock
