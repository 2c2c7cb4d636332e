#!/usr/bin/env bash
# Makes a Python environment and installs into it what the arguments of `pip install` say, unless it
# is there already and made from the same things.
# Usage: tools/environment.sh FOLDER ARGUMENT...
# With $MADE_ON it is also made anew when that has another value.
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
arguments=("${@:2}")
python=$(tools/find-python.sh)

# Written last, so that a half-made environment has none. The place is part of it: an environment
# that was moved does not work.
stamp=$folder/made-from
made_from=$(
  printf '%s\n' "$PWD/$folder" "$("$python" --version)" "${MADE_ON:-}" "${arguments[@]}"
  sha256sum pyproject.toml tools/*-versions.txt
)
if [[ -f $stamp && $(<"$stamp") == "$made_from" && -x $folder/bin/python ]]; then
  exit 0
fi

say "Making $folder (${arguments[*]}): a minute or two"
rm -rf "$folder"
quietly "${folder#.}" "$python" -m venv "$folder"

install() {
  quietly "${folder#.}" "$folder/bin/python" -m pip install --no-input --disable-pip-version-check \
    "${arguments[@]}"
}
# Once more, as a registry may be out of reach for a moment; what has come is in pip's cache.
if ! (install); then
  say "Trying once more"
  install
fi
printf '%s\n' "$made_from" >"$stamp"
