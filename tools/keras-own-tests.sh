#!/usr/bin/env bash
# Runs the optimizer tests that come with Keras, with kerasgd's SGD in place of Keras' SGD.
# tests/python/keras_own_tests.toml lists the tests that must fail, with reasons.
# Usage: tools/keras-own-tests.sh FOLDER BACKEND [option of pytest]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$1
backend=$2
modules=(
  keras.src.optimizers.{sgd,optimizer,optimizer_sparse,loss_scale_optimizer,multi_optimizer}_test
)
# Last, because it reconfigures TensorFlow's devices.
[[ $backend != tensorflow ]] || modules+=(keras.src.backend.tensorflow.optimizer_distribute_test)

say "Keras' own optimizer tests on $backend"
PYTHONPATH=tests/python KERAS_BACKEND=$backend "$folder/bin/python" -m pytest -p keras_own_tests \
  -p no:cacheprovider -W ignore "${@:3}" --pyargs "${modules[@]}"
