# shellcheck shell=bash
# Sourced by the other scripts in this folder, which all run in the project's root.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD

# The same settings as in the Makefile, for scripts that run without it
export LC_ALL=C.UTF-8 R_PROFILE_USER=/dev/null TF_ENABLE_ONEDNN_OPTS=0

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf 'Error: %s\n' "$*" >&2
  exit 1
}

# Runs a command and shows its output only if it fails.
# Usage: quietly NAME COMMAND...; the output is kept in build/log/NAME.log
quietly() {
  local log=$root/build/log/$1.log
  shift
  mkdir -p "$root/build/log"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 40 "$log" >&2
    die "\`$*\` failed; its whole output is in ${log#"$root"/}"
  fi
}

# Puts a copy of the sources into FOLDER: what a clone would bring, with changes that are not
# committed yet.
# Usage: copy_sources FOLDER
copy_sources() {
  mkdir -p "$1"
  tar --create --anchored --exclude='./.git' --exclude='./.venv*' --exclude='./build' \
    --no-anchored --exclude='__pycache__' --exclude='*.egg-info' . |
    tar --extract --directory "$1"
}

# One checksum for the names and contents of everything below the given paths.
fingerprint() {
  find "$@" -type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*' -print0 |
    sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}
