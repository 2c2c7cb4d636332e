#!/usr/bin/env bash
# Runs R CMD check --as-cran on the R package that `make dist` has built. An error, a warning or a
# note fails.
set -euo pipefail
source "$(dirname "$0")/common.sh"

say "R CMD check --as-cran"
# No LaTeX is needed, and nothing that asks the network: CRAN's incoming checks and its clock.
export _R_CHECK_CRAN_INCOMING_=false _R_CHECK_SYSTEM_CLOCK_=0
# TensorFlow compiles code that it writes to R's temporary folder: what Python would keep of that
# there, the check would call detritus.
export PYTHONDONTWRITEBYTECODE=1
R CMD check --as-cran --no-manual --output=build build/dist/kerasgd_*.tar.gz

status=$(grep '^Status:' build/kerasgd.Rcheck/00check.log)
[[ $status == "Status: OK" ]] || die "R CMD check ended in \"$status\"; see build/kerasgd.Rcheck"
