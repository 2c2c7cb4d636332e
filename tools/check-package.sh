#!/usr/bin/env bash
# Runs R CMD check --as-cran on the R package that `make dist` built. Fails on any error, warning or
# note.
set -euo pipefail
source "$(dirname "$0")/common.sh"

say "R CMD check --as-cran"
# Skip the checks that need the network: CRAN's incoming checks and the clock.
export _R_CHECK_CRAN_INCOMING_=false _R_CHECK_SYSTEM_CLOCK_=0
# TensorFlow writes Python code to R's temporary folder; the check would report the compiled files
# there as detritus.
export PYTHONDONTWRITEBYTECODE=1
R CMD check --as-cran --no-manual --output=build build/dist/kerasgd_*.tar.gz

status=$(grep '^Status:' build/kerasgd.Rcheck/00check.log)
[[ $status == "Status: OK" ]] || die "R CMD check ended in \"$status\"; see build/kerasgd.Rcheck"
