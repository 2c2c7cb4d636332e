#!/usr/bin/env bash
# Builds the R package's source archive in build/ and prints its path.
# Usage: tools/build-package.sh [option of R CMD build]...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# Build from a copy: R CMD build would first copy the Python environments (gigabytes) and then
# exclude them.
rm -rf build/source build/kerasgd_*.tar.gz
copy_sources build/source
# A folder in place of the link, which may be a text file where Git or unzip made no links
rm -r build/source/inst/python
cp -R build/source/python build/source/inst/python

cd build
quietly R-CMD-build R CMD build "$@" source
echo "$PWD"/kerasgd_*.tar.gz
