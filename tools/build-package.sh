#!/usr/bin/env bash
# Builds the R package's source archive in build/ and prints its path.
# Usage: tools/build-package.sh [option of R CMD build]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# From a copy: R CMD build itself would first copy the Python environments, gigabytes, and only then
# leave them out.
rm -rf build/source build/kerasgd_*.tar.gz
mkdir -p build/source
tar --create --anchored --exclude='./.git' --exclude='./.venv*' --exclude='./build' . |
  tar --extract --directory build/source

cd build
quietly R-CMD-build R CMD build "$@" source
echo "$PWD"/kerasgd_*.tar.gz
