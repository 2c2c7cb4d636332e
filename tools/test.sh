#!/usr/bin/env bash
# Runs every test suite, also after one has failed, and repeats their summary lines at the end.
# Leaves each suite's exit status in build/results/SUITE.status. The environments and the installed
# package must be there.
set -euo pipefail
source "$(dirname "$0")/common.sh"

suites=(tensorflow jax torch r)

run_suite() {
  case $1 in
    tensorflow) tools/test-python.sh .venv tensorflow ;;
    r) Rscript tools/test-r.R ;;
    *) tools/test-python.sh ".venv-$1" "$1" ;;
  esac
}

rm -rf build/results
mkdir -p build/results
failed=0
for suite in "${suites[@]}"; do
  status=0
  run_suite "$suite" 2>&1 | tee "build/results/$suite.log" || status=$?
  echo "$status" >"build/results/$suite.status"
  [[ $status -eq 0 ]] || failed=1
done

echo
for suite in "${suites[@]}"; do
  printf '%-10s  %s\n' "$suite" "$(grep -v '^[[:space:]]*$' "build/results/$suite.log" | tail -n 1)"
done
exit "$failed"
