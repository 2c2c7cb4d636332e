#!/usr/bin/env bash
# Runs the R tests with Debian 13's reticulate, built from source, which works with NumPy 2: all
# tests on PyTorch, from .venv-torch, and the scripts for several devices on JAX, which needs NumPy
# 2, from .venv-jax. The R package and these environments must be installed.
# Usage: tools/modern-stack.sh [FILTER] (FILTER: as in testthat::test_dir(), e.g. optimizer-sgd)
set -euo pipefail
source "$(dirname "$0")/common.sh"

folder=$root/build/modern-stack
library=$folder/library

# Uses its own source list, so the system's does not change.
install_reticulate() {
  local options=(
    -o "Dir::Etc::SourceList=$folder/debian.sources" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$folder/lists" -o "APT::Sandbox::User=$(id --user --name)"
  )
  rm -rf "$folder"
  mkdir -p "$library" "$folder/lists/partial"
  cat >"$folder/debian.sources" <<EOF
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
  cd "$folder"
  quietly modern-stack-update apt-get "${options[@]}" update
  quietly modern-stack-source apt-get "${options[@]}" source --download-only --tar-only r-cran-reticulate
  tar --extract --file r-cran-reticulate_*.orig.tar.*
  quietly modern-stack-install R CMD INSTALL --library="$library" reticulate
  cd "$root"
}

if [[ ! -d $library/reticulate ]]; then
  say "Building Debian 13's reticulate: a minute"
  install_reticulate
fi

version=$(R_LIBS=$library Rscript -e 'cat(format(packageVersion("reticulate")))')
say "R tests with reticulate $version on PyTorch"
export R_LIBS=$library${R_LIBS:+:$R_LIBS}
RETICULATE_PYTHON=$root/.venv-torch/bin/python KERAS_BACKEND=torch Rscript tools/test-r.R "$@"
say "R scripts for several devices on JAX"
RETICULATE_PYTHON=$root/.venv-jax/bin/python KERAS_BACKEND=jax Rscript tools/test-r.R several-devices
