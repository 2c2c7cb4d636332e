#!/usr/bin/env bash
# Runs the Python tests on one backend; pytest's results go to build/results/BACKEND.xml.
# Usage: tools/test-python.sh FOLDER BACKEND [option of pytest]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
backend=$2
mkdir -p build/results
say "Python tests on $backend"
KERAS_BACKEND=$backend "$folder/bin/python" -m pytest "--junitxml=build/results/$backend.xml" \
  -o junit_family=xunit2 "${@:3}"
