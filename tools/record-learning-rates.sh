#!/usr/bin/env bash
# Compares the suggestions of find_learning_rate() with the best constant rate of a grid, for three
# R data sets on each backend, and writes vignettes/learning-rates.csv, which
# vignettes/choosing-a-learning-rate.Rmd shows: a quarter of an hour.
set -euo pipefail
source "$(dirname "$0")/common.sh"

make .venv .venv-jax .venv-torch
folder=build/learning-rates
rm -rf "$folder"
mkdir -p "$folder"
Rscript tools/learning-rate-data.R "$folder"
export TF_CPP_MIN_LOG_LEVEL=3

for backend in tensorflow jax torch; do
  say "$backend"
  environment=.venv-$backend
  [[ $backend == tensorflow ]] && environment=.venv
  KERAS_BACKEND=$backend "$environment/bin/python" -W ignore tools/record_learning_rates.py \
    "$folder" >"$folder/$backend.out"
done
# Keep only the first header
awk 'FNR > 1 || NR == 1' "$folder"/{tensorflow,jax,torch}.out >vignettes/learning-rates.csv
