#!/bin/sh
# Prints the path of a Python that has what requirements.txt lists. It is made once for each content of that
# file, in the cache folder, beside python-tuf's source archive (its examples are read from there).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${RUST_OTA_CACHE:-$HOME/.cache/rust-ota}
key=$(sha256sum "$here/requirements.txt" | cut -c1-16)
venv=$cache/python-$key
if [ ! -e "$venv/complete" ]; then
    mkdir -p "$cache"
    exec 9>"$venv.lock"
    flock 9
    if [ ! -e "$venv/complete" ]; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
        tuf=$(grep '^tuf==' "$here/requirements.txt")
        "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary tuf \
            --dest "$venv/source" "$tuf" >&2
        tar -C "$venv/source" --strip-components=1 -xzf "$venv"/source/tuf-*.tar.gz
        touch "$venv/complete"
    fi
fi
echo "$venv/bin/python"
