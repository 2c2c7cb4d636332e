#!/usr/bin/env bash
# Times an update against Keras and its peers, and plots the results.
# Usage: tools/bench.sh [BACKEND]... [KIND]... [option of python -m benchmarks]...
# Runs all backends (tensorflow jax torch) and kinds (measure build memory fit additions devices
# growth from-r) unless some are named. Earlier results are kept, so an interrupted run can resume.
# R is measured on TensorFlow only.
set -euo pipefail
source "$(dirname "$0")/common.sh"

# These make results equal on all processors, which only tests need.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE TF_ENABLE_ONEDNN_OPTS
# Every case compiles something, and TensorFlow would report each compilation.
export TF_CPP_MIN_LOG_LEVEL=3

declare -A environment=([tensorflow]=.venv [jax]=.venv-jax [torch]=.venv-torch)
backends=() kinds=()
while (($#)); do
  case $1 in
    tensorflow | jax | torch) backends+=("$1") ;;
    measure | build | memory | fit | additions | devices | growth | from-r) kinds+=("$1") ;;
    -*) break ;;
    *) die "\`$1\` is not a backend (tensorflow jax torch) or a kind (measure build memory fit additions devices growth from-r)" ;;
  esac
  shift
done
((${#backends[@]})) || backends=(tensorflow jax torch)
((${#kinds[@]})) || kinds=(measure build memory fit additions devices growth from-r)
results=benchmarks/results
for ((i = 1; i < $#; i++)); do
  next=$((i + 1))
  [[ ${!i} != --results ]] || results=${!next}
done

# Installed outside the environments. Dependencies are omitted, because the environments have
# TensorFlow and JAX.
peers() {
  case $1 in
    tensorflow) set -- "$1" tf_keras==2.21.0 ;;
    jax) set -- "$1" optax absl-py ;;
    torch) return ;;
  esac
  (quietly "bench-$1" "${environment[$1]}/bin/python" -m pip install \
    --upgrade --no-deps --target "build/bench/$1" "${@:2}") || say "Timing without this peer"
}

mkdir -p build/bench "$results"
for backend in "${backends[@]}"; do
  peers "$backend"
  for kind in "${kinds[@]}"; do
    if [[ $kind == from-r ]]; then
      [[ $backend != tensorflow ]] || PYTHONPATH=. Rscript benchmarks/from-r.R "$results"
      continue
    fi
    # JAX reads the number of virtual devices only when it starts.
    flags=
    [[ $kind != devices ]] || flags=--xla_force_host_platform_device_count=4
    PYTHONPATH=.:build/bench/$backend KERAS_BACKEND=$backend XLA_FLAGS=$flags \
      "${environment[$backend]}/bin/python" -m benchmarks "$kind" "$@"
  done
done

quietly matplotlib .venv/bin/python -m pip install --target build/bench/report matplotlib
PYTHONPATH=.:build/bench/report .venv/bin/python -m benchmarks report "$@"
say "The tables (results.md) and two plots are in benchmarks/results/"
