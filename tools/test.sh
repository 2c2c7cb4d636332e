#!/usr/bin/env bash
# Runs test suites in parallel, one per processor, even if an earlier one fails. Each writes its
# output to build/log/test-SUITE.log. The output is shown in the given order, as if the suites ran
# one after another. The runners' summary lines are repeated at the end and in build/test-summary.
# The environments and the R package must be installed.
# Usage: tools/test.sh SUITE... (see run_suite; list the longest first)
set -euo pipefail
source "$(dirname "$0")/common.sh"

# What another version of Keras may change, and what another backend may. The suite of PyTorch runs
# everything.
of_keras=(-m "not long and not any_keras")
of_backend=(-m "not long and not any_backend")

run_suite() {
  case $1 in
    tensorflow) tools/test-python.sh .venv tensorflow "${of_backend[@]}" ;;
    jax) tools/test-python.sh .venv-jax jax "${of_backend[@]}" ;;
    torch) tools/test-python.sh .venv-torch torch ;;
    r) say "R tests" && Rscript tools/test-r.R ;;
    long-tensorflow) tools/test-python.sh .venv tensorflow -m long ;;
    long-*) tools/test-python.sh ".venv-${1#long-}" "${1#long-}" -m long ;;
    keras-tensorflow) tools/keras-own-tests.sh .venv tensorflow ;;
    keras-*) tools/keras-own-tests.sh ".venv-${1#keras-}" "${1#keras-}" ;;
    oldest-keras) tools/test-python.sh .venv-oldest tensorflow "${of_keras[@]}" ;;
    newest-keras) PYTHONPATH=$root/python tools/test-python.sh .venv-newest jax "${of_keras[@]}" ;;
    new-reticulate) tools/modern-stack.sh ;;
    *) die "tools/test.sh has no suite '$1'" ;;
  esac
}

log_of() { echo "build/log/test-$1.log"; }

# Contains the exit status of the suite; written when it has finished.
status_of() { echo "build/log/test-$1.status"; }

run_into_files() {
  local status=0
  (run_suite "$1") >"$(log_of "$1")" 2>&1 </dev/null || status=$?
  echo "$status" >"$(status_of "$1")"
}

# Starts the next suite whenever one finishes.
run_all() {
  local suite
  for suite in "$@"; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do
      wait -n || true
    done
    run_into_files "$suite" &
  done
  wait
}

# Shows the output of a suite from its start, until it has finished or nothing runs any more.
show() {
  until [[ -e $(status_of "$1") ]] || ! kill -0 "$runner" 2>/dev/null; do sleep 0.2; done &
  tail --follow --lines=+1 --pid=$! "$(log_of "$1")"
}

# The last line of pytest or testthat that counts results.
summary_line() {
  grep -E '^=+ .* in [0-9.]+s|^\[ FAIL [0-9]+ ' "$(log_of "$1")" | tail -n 1
}

mkdir -p build/log
for suite in "$@"; do
  rm -f "$(status_of "$suite")"
  : >"$(log_of "$suite")"
done
: >build/test-summary

# In a separate process group, so that an interrupt ends all suites.
set -m
run_all "$@" &
runner=$!
set +m
trap 'kill -- "-$runner" 2>/dev/null || true' EXIT

failed=0
for suite in "$@"; do
  show "$suite"
  [[ $(cat "$(status_of "$suite")") == 0 ]] || failed=1
  printf '%-16s  %s\n' "$suite" "$(summary_line "$suite" || echo 'did not finish')" >>build/test-summary
done

echo
cat build/test-summary
exit "$failed"
