#!/usr/bin/env bash
# Installs the R package into R's first writable library, unless the installed package was built
# from the same sources.
set -euo pipefail
source "$(dirname "$0")/common.sh"

library=$(Rscript tools/writable-library.R)
sources=$(fingerprint R python man inst demo DESCRIPTION NAMESPACE .Rbuildignore)
# The stamp is inside the installed package, so another installation removes it.
stamp=$library/kerasgd/made-from
if [[ -f $stamp && $(<"$stamp") == "$sources" ]]; then
  exit 0
fi

say "Installing the R package into $library"
# Install from an archive, so that tests run on the same files that users get.
archive=$(tools/build-package.sh --no-build-vignettes)
quietly R-CMD-INSTALL R CMD INSTALL --library="$library" "$archive"
printf '%s\n' "$sources" >"$stamp"
