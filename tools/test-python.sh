#!/usr/bin/env bash
# Runs the Python tests on one backend.
# Usage: tools/test-python.sh FOLDER BACKEND [option of pytest]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
backend=$2
say "Python tests on $backend"
KERAS_BACKEND=$backend "$folder/bin/python" -m pytest "${@:3}"
