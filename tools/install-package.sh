#!/usr/bin/env bash
# Installs the R package into R's first writable library, unless what is installed there was made
# from these very sources.
set -euo pipefail
source "$(dirname "$0")/common.sh"

library=$(Rscript tools/writable-library.R)
sources=$(fingerprint R python man inst demo DESCRIPTION NAMESPACE .Rbuildignore)
# Inside the installed package, so that any other installation of it removes the stamp.
stamp=$library/kerasgd/made-from
if [[ -f $stamp && $(<"$stamp") == "$sources" ]]; then
  exit 0
fi

say "Installing the R package into $library"
# Through an archive, so that what is used and tested here is what others would get.
archive=$(tools/build-package.sh --no-build-vignettes)
quietly R-CMD-INSTALL R CMD INSTALL --library="$library" "$archive"
printf '%s\n' "$sources" >"$stamp"
