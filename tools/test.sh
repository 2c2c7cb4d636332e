#!/usr/bin/env bash
# Runs test suites, also after one has failed, and repeats the runners' own summary lines at the end
# and in build/test-summary. The environments and the installed package must be there.
# Usage: tools/test.sh SUITE...   (see run_suite)
set -euo pipefail
source "$(dirname "$0")/common.sh"

run_suite() {
  case $1 in
    tensorflow) tools/test-python.sh .venv tensorflow ;;
    jax | torch) tools/test-python.sh ".venv-$1" "$1" ;;
    r) say "R tests" && Rscript tools/test-r.R ;;
    long-tensorflow) tools/test-python.sh .venv tensorflow -m long ;;
    long-*) tools/test-python.sh ".venv-${1#long-}" "${1#long-}" -m long ;;
    keras-tensorflow) tools/keras-own-tests.sh .venv tensorflow ;;
    keras-*) tools/keras-own-tests.sh ".venv-${1#keras-}" "${1#keras-}" ;;
    oldest-keras) tools/test-python.sh .venv-oldest tensorflow ;;
    newest-keras) PYTHONPATH=$root/python tools/test-python.sh .venv-newest jax ;;
    new-reticulate) tools/modern-stack.sh ;;
    *) die "tools/test.sh knows no suite '$1'" ;;
  esac
}

# The last line of pytest, or of testthat, that counts outcomes.
summary_line() {
  grep -E '^=+ .* in [0-9.]+s|^\[ FAIL [0-9]+ ' "$1" | tail -n 1
}

mkdir -p build/log
: >build/test-summary
failed=0
for suite in "$@"; do
  log=build/log/test-$suite.log
  run_suite "$suite" 2>&1 | tee "$log" || failed=1
  printf '%-16s  %s\n' "$suite" "$(summary_line "$log" || echo 'broke off')" >>build/test-summary
done

echo
cat build/test-summary
exit "$failed"
