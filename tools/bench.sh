#!/usr/bin/env bash
# Times an update on every backend and draws the results.
# Usage: tools/bench.sh [option of python -m benchmarks measure]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# They make matrix products alike on all processors, which tests need and times do not.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

# Beside the environments, not in them. Dependencies are left out: TensorFlow and JAX are there.
peers() {
  quietly "bench-$1" "$2/bin/python" -m pip install --upgrade --no-deps --target "build/bench/$1" "${@:3}"
}

measure() {
  say "Timing on $1"
  PYTHONPATH=.:build/bench/$1 KERAS_BACKEND=$1 "$2/bin/python" -m benchmarks measure "${@:3}"
}

mkdir -p build/bench
(peers tensorflow .venv tf_keras==2.21.0) || say "Timing without this peer"
(peers jax .venv-jax optax absl-py) || say "Timing without this peer"

rm -f benchmarks/results/results.csv benchmarks/results/notes.txt
measure tensorflow .venv "$@"
measure jax .venv-jax "$@"
measure torch .venv-torch "$@"

quietly matplotlib .venv/bin/python -m pip install --target build/bench/report matplotlib
PYTHONPATH=.:build/bench/report .venv/bin/python -m benchmarks report
say "benchmarks/results/ has a table and a picture"
