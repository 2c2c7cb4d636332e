#!/usr/bin/env bash
# Builds the R package with its vignettes and runs R CMD check --as-cran on it. An error, a warning
# or a note fails.
set -euo pipefail
source "$(dirname "$0")/common.sh"

say "R CMD build"
archive=$(tools/build-package.sh)

say "R CMD check --as-cran"
# No LaTeX is needed, and nothing that asks the network: CRAN's incoming checks and its clock.
export _R_CHECK_CRAN_INCOMING_=false _R_CHECK_SYSTEM_CLOCK_=0
# TensorFlow compiles code that it writes to R's temporary folder: what Python would keep of that
# there, the check would call detritus.
export PYTHONDONTWRITEBYTECODE=1
R CMD check --as-cran --no-manual --output=build "$archive"

status=$(grep '^Status:' build/kerasgd.Rcheck/00check.log)
[[ $status == "Status: OK" ]] || die "R CMD check ended in \"$status\"; see build/kerasgd.Rcheck"
