#!/usr/bin/env bash
# Installs the system packages that the targets need: R, R packages, Python and the checking tools,
# as Debian packages. As root, it installs missing packages; otherwise it prints the command to run
# as root.
# Usage: tools/require.sh run|test|dist|check|site|browser (test includes run, dist includes test;
# check and site include dist)
set -euo pipefail
source "$(dirname "$0")/common.sh"

fields=(Depends Imports)
r_packages=()
programs=(Rscript:r-base-core)
case $1 in
  run) ;;
  test) fields+=(Suggests) ;;
  check)
    fields+=(Suggests)
    r_packages+=(lintr pkgdown roxygen2)
    programs+=(pandoc:pandoc qpdf:qpdf shellcheck:shellcheck tidy:tidy)
    ;;
  dist)
    fields+=(Suggests)
    programs+=(pandoc:pandoc)
    ;;
  site)
    fields+=(Suggests)
    r_packages+=(pkgdown)
    programs+=(pandoc:pandoc)
    ;;
  browser) programs+=(chromium:chromium chromedriver:chromium-driver) ;;
  *) die "the argument of tools/require.sh must be run, test, dist, check, site or browser, not '$1'" ;;
esac
mapfile -t -O "${#r_packages[@]}" r_packages < <(tools/r-dependencies.sh "${fields[@]}")

# Prints the Debian packages that provide the missing programs and R packages.
missing() {
  local program package
  for program in "${programs[@]}"; do
    command -v "${program%:*}" >/dev/null || echo "${program#*:}"
  done
  # Asks R, not dpkg, because packages from CRAN count too.
  if command -v Rscript >/dev/null; then
    Rscript tools/missing-packages.R "${r_packages[@]}"
  else
    printf '%s\n' "${r_packages[@]}"
  fi | while read -r package; do echo "r-cran-${package,,}"; done
  if ! tools/find-python.sh >/dev/null; then
    printf '%s\n' python3 python3-venv libpython3-dev
  fi
  if reticulate_wants_pip && ! "$(tools/find-python.sh || echo python3)" -c 'import pip' 2>/dev/null; then
    echo python3-pip
  fi
}

# From 1.29 on, reticulate creates environments for install_kerasgd() only with a Python that has
# pip.
reticulate_wants_pip() {
  local version
  version=$(
    Rscript -e 'cat(format(packageVersion("reticulate")))' 2>/dev/null ||
      apt-cache show r-cran-reticulate 2>/dev/null | sed -n 's/^Version: //p' | head -n 1
  ) || true
  # An unknown version counts as the newest
  [[ $(printf '%s\n' 1.29 "${version:-2}" | sort --version-sort | head -n 1) == 1.29 ]]
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive quietly apt-get \
    apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=600 "$@"
}

mapfile -t packages < <(missing)
[[ ${#packages[@]} -gt 0 ]] || exit 0

command -v apt-get >/dev/null ||
  die "these Debian packages are missing, and apt-get is not available: ${packages[*]}"
if [[ $EUID -ne 0 ]]; then
  die "some Debian packages are missing, and only root can install them. Run

  sudo apt-get update && sudo apt-get install --yes --no-install-recommends ${packages[*]}

(or the same as root, without sudo), then run make again."
fi

say "Installing Debian packages: ${packages[*]}"
# The first try fails if package lists are missing or out of date.
if ! (apt_install "${packages[@]}") 2>/dev/null; then
  quietly apt-get-update apt-get update
  apt_install "${packages[@]}"
fi
mapfile -t packages < <(missing)
[[ ${#packages[@]} -eq 0 ]] || die "still missing after the installation: ${packages[*]}"
