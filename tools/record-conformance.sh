#!/usr/bin/env bash
# Runs the conformance checks on Keras' own SGD and on kerasgd's with each backend, and writes the
# results to vignettes/conformance.csv, which vignettes/differences.Rmd shows: half an hour.
set -euo pipefail
source "$(dirname "$0")/common.sh"

make .venv .venv-jax .venv-torch
declare -A pythons=(
  [tensorflow]=$root/.venv/bin/python
  [jax]=$root/.venv-jax/bin/python
  [torch]=$root/.venv-torch/bin/python
)
versions='
import importlib, keras
print(keras.__version__, importlib.import_module(keras.config.backend()).__version__)
'
folder=build/conformance
rm -rf "$folder"
mkdir -p "$folder"
export TF_CPP_MIN_LOG_LEVEL=3

for backend in tensorflow jax torch; do
  export KERAS_BACKEND=$backend
  python=${pythons[$backend]}
  "$python" -c "$versions" >"$folder/$backend-versions"
  others=()
  for other in "${!pythons[@]}"; do
    [[ $other == "$backend" ]] || others+=(--python-for "$other=${pythons[$other]}")
  done
  for subject in keras.optimizers:SGD kerasgd:SGD; do
    say "$subject on $backend"
    # Status 1 means that a clause fails, which is a result to record
    "$python" -m kerasgd.conformance --subject "$subject" "${others[@]}" \
      --json "$folder/$backend-$subject.json" || [[ $? -eq 1 ]]
  done
done
Rscript tools/tabulate-conformance.R "$folder" vignettes/conformance.csv
