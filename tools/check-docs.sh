#!/usr/bin/env bash
# Checks that man/ and NAMESPACE match the roxygen2 comments in R/, by running roxygen2 on a copy,
# and that _pkgdown.yml lists every page of man/ and every vignette.
set -euo pipefail
source "$(dirname "$0")/common.sh"

say "roxygen2"
rm -rf build/docs
mkdir -p build/docs
cp --archive DESCRIPTION NAMESPACE R man inst python build/docs/
quietly roxygen2 Rscript -e 'roxygen2::roxygenise("build/docs")'

if ! diff --recursive --unified man build/docs/man || ! diff --unified NAMESPACE build/docs/NAMESPACE; then
  die "man/ or NAMESPACE does not match the comments in R/ (the lines above differ). Run \`make docs\`."
fi

say "pkgdown"
quietly pkgdown Rscript -e 'pkgdown::check_pkgdown()'
