#!/usr/bin/env bash
# Runs every linter, even if an earlier one fails.
set -euo pipefail
source "$(dirname "$0")/common.sh"

failed=0
lint() {
  say "$1"
  "${@:2}" || failed=1
}

lint "ruff check" .venv/bin/ruff check python inst/startup tests tools benchmarks
lint "ruff format" .venv/bin/ruff format --check --quiet python inst/startup tests tools benchmarks
lint "mypy --strict" .venv/bin/mypy --strict
lint "import-linter" .venv/bin/lint-imports
lint "lintr" Rscript tools/lint.R
lint "shellcheck" shellcheck --external-sources --source-path=SCRIPTDIR .ci/run tools/*.sh
exit "$failed"
