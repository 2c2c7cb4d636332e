#!/usr/bin/env bash
# Prints the newest released Python on this machine that can create environments: on the PATH, or,
# as pyenv installs them, next to the Python of the other environments.
set -euo pipefail

describe='
import ensurepip, sys, venv
if sys.version_info.releaselevel != "final" or not getattr(sys, "_is_gil_enabled", lambda: True)():
    sys.exit(1)
print("%d.%d.%d" % sys.version_info[:3], sys.executable)
'
default=$("$(dirname "$0")/find-python.sh")
candidates=("$default" "$("$default" -c 'import sys; print(sys.base_prefix)')"/../*/bin/python3)
mapfile -t -O "${#candidates[@]}" candidates < <(compgen -c python3. | grep -E '^python3\.[0-9]+$')
for python in "${candidates[@]}"; do
  "$python" -c "$describe" 2>/dev/null || true
done | sort --version-sort | tail -n 1 | cut -d ' ' -f 2-
