#!/usr/bin/env bash
# Says whether man/ and NAMESPACE are what roxygen2 makes of the comments in R/, by running it on a
# copy, and whether every page of man/ and every vignette has its place in _pkgdown.yml.
set -euo pipefail
source "$(dirname "$0")/common.sh"

say "roxygen2"
rm -rf build/docs
mkdir -p build/docs
cp --archive DESCRIPTION NAMESPACE R man inst python build/docs/
quietly roxygen2 Rscript -e 'roxygen2::roxygenise("build/docs")'

if ! diff --recursive --unified man build/docs/man || ! diff --unified NAMESPACE build/docs/NAMESPACE; then
  die "man/ or NAMESPACE is not what roxygen2 makes of R/ (the lines above differ). Run \`make docs\`."
fi

say "pkgdown"
quietly pkgdown Rscript -e 'pkgdown::check_pkgdown()'
