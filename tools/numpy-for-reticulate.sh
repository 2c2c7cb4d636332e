#!/usr/bin/env bash
# Prints the NumPy requirement of the environment that R uses: reticulate before 1.38 cannot
# exchange arrays with NumPy 2.
set -euo pipefail
Rscript -e 'if (packageVersion("reticulate") < "1.38") writeLines("numpy<2")'
