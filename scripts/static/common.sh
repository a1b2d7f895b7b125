# Shared by the scripts of the static build. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail

# shellcheck disable=SC2034 # the scripts that source this file read them
{
    TARGET=${RUST_OTA_TARGET:-$(uname -m)-unknown-linux-musl}
    CACHE=${RUST_OTA_CACHE:-$HOME/.cache/rust-ota}/static
    JOBS=$(nproc)
    STATIC=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
    ROOT=$(realpath "$STATIC/../..")
}

# say TEXT: progress for people. Standard output is kept for the result.
say() { printf '%s\n' "$*" >&2; }

die() { say "error: $*"; exit 1; }

# need COMMAND...: stops with the way out when one is missing.
need() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || die "$tool is not installed: run scripts/install-deps static"
    done
}

# key TEXT FILE...: a short name for these inputs.
key() {
    local text=$1
    shift
    { printf '%s\n' "$text"; cat "$@"; } | sha256sum | cut -c1-16
}

# logged NAME COMMAND...: runs it with its output in a log; shows the end of the log when it fails.
# A failure inside COMMAND stops it only because it is run as a program of its own: keep it so.
logged() {
    local name=$1 log=$CACHE/logs/$1.log began=$SECONDS
    shift
    mkdir -p "$CACHE/logs"
    if "$@" >"$log" 2>&1 </dev/null; then
        say "  $name: $((SECONDS - began)) s"
    else
        tail -n 30 "$log" >&2
        die "$name failed; the whole log is $log"
    fi
}

# locked NAME: holds the lock of that name until this script ends, so that two builds do not write one folder.
locked() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/$1.lock"
    flock 9
}

# crates_as CARGO OPTION: for each folder that crates are unpacked in, the option that writes it as /crates, so that no path of this
# machine is in the result. The folders must be there, so cargo fetches first.
crates_as() {
    local folder
    "$1" fetch --locked --quiet --manifest-path "$ROOT/Cargo.toml" >&2
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        printf '%s%s=/crates ' "$2" "${folder%/}"
    done
}
