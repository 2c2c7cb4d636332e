#!/usr/bin/env bash
# Tests the pages that `make site` has built, in Chromium.
# Usage: tools/test-site.sh [option of pytest]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# Without the filter of pyproject.toml, which would import Keras
.venv-site/bin/python -m pytest --override-ini filterwarnings= tests/site "$@"
