#!/usr/bin/env bash
# Runs every test suite, also after one has failed, and repeats the runners' own summary lines at the
# end and in build/test-summary. The environments and the installed package must be there.
set -euo pipefail
source "$(dirname "$0")/common.sh"

run_suite() {
  case $1 in
    tensorflow) tools/test-python.sh .venv tensorflow ;;
    r) say "R tests" && Rscript tools/test-r.R ;;
    *) tools/test-python.sh ".venv-$1" "$1" ;;
  esac
}

# The last line of pytest, or of testthat, that counts outcomes.
summary_line() {
  grep -E '^=+ .* in [0-9.]+s|^\[ FAIL [0-9]+ ' "$1" | tail -n 1
}

mkdir -p build/log
: >build/test-summary
failed=0
for suite in tensorflow jax torch r; do
  log=build/log/test-$suite.log
  run_suite "$suite" 2>&1 | tee "$log" || failed=1
  printf '%-10s  %s\n' "$suite" "$(summary_line "$log" || echo 'broke off')" >>build/test-summary
done

echo
cat build/test-summary
exit "$failed"
