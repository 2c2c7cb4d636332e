#!/usr/bin/env bash
# Runs the Python tests on one backend.
# Usage: tools/test-python.sh FOLDER BACKEND [option of pytest]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
backend=$2
versions=$("$folder/bin/python" -c '
import platform
from importlib import metadata
found = {d.name.lower(): d.version for d in metadata.distributions()}
keras = found.get("keras-nightly") or found["keras"]
print(f"Keras {keras}, Python {platform.python_version()}")
')
say "Python tests on $backend ($versions)"
KERAS_BACKEND=$backend "$folder/bin/python" -m pytest "${@:3}"
