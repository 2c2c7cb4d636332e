#!/usr/bin/env bash
# Tests the archives that `make dist` has built.
# Usage: tools/test-dist.sh [option of pytest]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# Without the filter of pyproject.toml, which would import Keras
.venv/bin/python -m pytest --override-ini filterwarnings= tests/dist "$@"
