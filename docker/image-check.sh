#!/bin/sh
# Builds the image without a Docker daemon, on a Debian base made by debootstrap, then runs both
# roles from it against real engines: a picture goes in over HTTP and its thumbnail comes out.
# Then a job for each program that the image has (ffmpeg; with VARIANT=full LibreOffice and Tesseract).
# They run as the image's user, under the filter of system calls that containers get by default.
# Needs root; the base is kept between runs, below FILEPROC_IMAGE_CACHE (~/.cache/fileproc).
set -eu
cd "$(dirname "$0")/.."

refuse() {
    echo "image-check: $1" >&2
    exit 3
}

for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null ||
        refuse "$tool is not installed (on Debian: apt-get install buildah debootstrap)."
done
[ "$(id -u)" = 0 ] || refuse "it makes a Debian base with debootstrap, which only root can do."

python=${PYTHON:-.venv/bin/python}
suite=${SUITE:-bookworm}
cache=${FILEPROC_IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fileproc}
work=$(mktemp -d)
base=localhost/fileproc-base:$suite
image=localhost/fileproc:check
container=

storage() {
    BUILDAH_ISOLATION=chroot buildah --storage-driver vfs --root "$cache/images" --runroot "$work/run" "$@"
}

clean_up() {
    [ -z "$container" ] || storage rm "$container" >/dev/null
    storage rmi "$image" >/dev/null 2>&1 || true # absent where the build failed
    storage rmi --prune >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

make_base() {
    echo "image-check: making a Debian $suite base (once; about a minute)"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
        "$suite" "$work/base" >"$work/debootstrap.log" 2>&1 || {
        tail -n 20 "$work/debootstrap.log" >&2
        exit 1
    }
    container=$(storage from scratch)
    storage add --quiet "$container" "$work/base" / >/dev/null
    storage commit --quiet "$container" "$base" >/dev/null
    storage rm "$container" >/dev/null
    container=
    rm -rf "$work/base"
}

mkdir -p "$cache"
storage inspect --type image "$base" >/dev/null 2>&1 || make_base

echo "image-check: building"
# The build reaches the package index as this machine does: its certificates and pip configuration
# are mounted, and are no part of the image. The options are paths without blanks, one to a word.
# shellcheck disable=SC2046
storage bud --quiet --format docker --pull-never --build-arg "BASE=$base" \
    --build-arg "VARIANT=${VARIANT:-plain}" \
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --volume /etc/ssl/certs:/etc/ssl/certs:ro \
    $("$python" docker/image_check.py pip-mounts "$work") \
    --file docker/Dockerfile --tag "$image" . >"$work/build.log" 2>&1 || {
    tail -n 40 "$work/build.log" >&2
    exit 1
}

container=$(storage from --pull-never "$image")
storage inspect --type image "$image" >"$work/image.json"
"$python" docker/image_check.py run "$work" "$container" \
    buildah --storage-driver vfs --root "$cache/images" --runroot "$work/run" run --isolation chroot
