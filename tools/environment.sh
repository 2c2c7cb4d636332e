#!/usr/bin/env bash
# Creates a Python environment with the given arguments of `pip install`, unless it already exists
# and was created from the same inputs.
# Usage: tools/environment.sh FOLDER ARGUMENT...
# A new value of $MADE_ON also recreates it.
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
arguments=("${@:2}")
python=$(tools/find-python.sh)

# Written last, so a half-made environment has no stamp. The stamp contains the path, because an
# environment that was moved does not work.
stamp=$folder/made-from
made_from=$(
  printf '%s\n' "$PWD/$folder" "$("$python" --version)" "${MADE_ON:-}" "${arguments[@]}"
  sha256sum pyproject.toml tools/*-versions.txt
)
if [[ -f $stamp && $(<"$stamp") == "$made_from" && -x $folder/bin/python ]]; then
  exit 0
fi

say "Creating $folder (${arguments[*]}): a minute or two"
rm -rf "$folder"
quietly "${folder#.}" "$python" -m venv "$folder"

# Several environments may be created at once: setuptools writes its metadata of the project into
# each of them, not into the sources.
export DIST_EXTRA_CONFIG=$root/$folder/setuptools.cfg
printf '[egg_info]\negg_base = %s\n' "$root/$folder" >"$DIST_EXTRA_CONFIG"

install() {
  quietly "${folder#.}" "$folder/bin/python" -m pip install --no-input --disable-pip-version-check \
    "${arguments[@]}"
}
# Try twice: a registry can be unavailable for a moment, and finished downloads are in pip's cache.
if ! (install); then
  say "Trying again"
  install
fi
printf '%s\n' "$made_from" >"$stamp"
