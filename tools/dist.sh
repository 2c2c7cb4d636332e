#!/usr/bin/env bash
# Builds the distributed archives in build/dist: the Python package as sdist and wheel, and the R
# package as a source archive with its vignettes.
set -euo pipefail
source "$(dirname "$0")/common.sh"

rm -rf build/dist
mkdir -p build/dist

say "The Python package"
# From a copy: setuptools would reuse files that an earlier build left in python/.
rm -rf build/python-source
copy_sources build/python-source
quietly python-build .venv-dist/bin/python -m build --no-isolation --outdir build/dist \
  build/python-source

say "The R package, with its vignettes: a minute or two"
mv "$(tools/build-package.sh)" build/dist/
ls build/dist
