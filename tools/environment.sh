#!/usr/bin/env bash
# Makes a Python environment that holds the project (editable) and the given extras of
# pyproject.toml, unless it is there already and made from the same things.
# Usage: tools/environment.sh FOLDER EXTRAS [REQUIREMENT]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
extras=$2
requirements=("${@:3}")
python=$(tools/find-python.sh)

# Written last, so that a half-made environment has none. The place is part of it: an environment
# that was moved does not work.
stamp=$folder/made-from
made_from=$(
  printf '%s\n' "$PWD/$folder" "$("$python" --version)" "$extras" "${requirements[@]}"
  sha256sum pyproject.toml
)
if [[ -f $stamp && $(<"$stamp") == "$made_from" && -x $folder/bin/python ]]; then
  exit 0
fi

say "Making $folder ($extras${requirements:+, ${requirements[*]}}): a minute or two"
rm -rf "$folder"
quietly "${folder#.}" "$python" -m venv "$folder"

install() {
  quietly "${folder#.}" "$folder/bin/python" -m pip install --no-input --disable-pip-version-check \
    --editable ".[$extras]" "${requirements[@]}"
}
# Once more, as a registry may be out of reach for a moment; what has come is in pip's cache.
if ! (install); then
  say "Trying once more"
  install
fi
printf '%s\n' "$made_from" >"$stamp"
