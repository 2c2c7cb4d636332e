#!/usr/bin/env bash
# Builds a fresh Debian 13 in build/debian, from the mirror that apt uses on this machine, and runs
# `make demo`, the R tests and `install_kerasgd()` in it: once as root, followed by `R CMD check`,
# and once as a user without root. Must be run by root; takes 10 GB and 40 minutes. The last lines
# are a summary.
# Usage: tools/fresh-debian.sh [root|user]... (both unless one is named)
set -euo pipefail
source "$(dirname "$0")/common.sh"

[[ $EUID -eq 0 ]] || die "tools/fresh-debian.sh must run as root"
command -v debootstrap >/dev/null ||
  quietly debootstrap apt-get install --yes --no-install-recommends debootstrap

folder=$root/build/debian
summary=$folder/summary
# If no package lists were ever fetched, apt knows no mirror.
# shellcheck disable=SC2016 # apt-get expands the dollar sign
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}
failed=0

# Unmount first, so that removing a system does not reach through its mounts.
unmount() {
  local place
  for place in "$folder"/*/{proc,dev,etc/ssl/certs}; do
    ! mountpoint --quiet "$place" || umount --lazy "$place"
  done
}
trap unmount EXIT

# Each system is a copy of the base, so both start from nothing.
fresh_system() {
  local system=$folder/$1
  cp --archive "$folder/base" "$system"
  mount --bind /proc "$system/proc"
  mount --bind /dev "$system/dev"
  # The system uses the name servers and certificates of this machine.
  cp --dereference /etc/resolv.conf /etc/hosts "$system/etc/"
  mount --bind --options ro /etc/ssl/certs "$system/etc/ssl/certs"
  chroot "$system" useradd --create-home tester
}

# Runs a command in the project's folder: inside SYSTEM USER COMMAND...
inside() {
  local home
  home=$(chroot "$folder/$1" sh -c "echo ~$2")
  chroot "$folder/$1" setpriv --reuid "$2" --regid "$2" --init-groups env --ignore-environment \
    --chdir="$home/kerasgd" HOME="$home" USER="$2" LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${@:3}"
}

bring_sources() {
  local home
  home=$(chroot "$folder/$1" sh -c "echo ~$2")
  copy_sources "$folder/$1$home/kerasgd"
  chroot "$folder/$1" chown --recursive "$2:$2" "$home/kerasgd"
}

# Runs a command inside, shows it, and adds a line to the summary: the last one that matches PATTERN.
# Usage: try SYSTEM USER NAME PATTERN COMMAND...
try() {
  local log=$folder/$1-${3//[ ()]/-}.log outcome=failed
  say "Debian 13, as $2: $3"
  if inside "$1" "$2" "${@:5}" 2>&1 | tee "$log"; then
    outcome=$(grep -E "$4" "$log" | tail -n 1) || outcome="no line like '$4'"
  fi
  printf '%-7s %-18s %s\n' "$2" "$3" "$outcome" >>"$summary"
  [[ $outcome != failed ]] || failed=1
}

# shellcheck disable=SC2016  # the code is R's
use_it='
  kerasgd::install_kerasgd(gpu = FALSE)
  sitrep <- kerasgd::kerasgd_sitrep()
  stopifnot(sitrep$fits, basename(dirname(dirname(sitrep$python))) == "r-kerasgd")
  print(kerasgd::optimizer_sgd(0.5))
  cat("Python", sitrep$python_version, "Keras", sitrep$keras, "reticulate", sitrep$reticulate, "\n")
'

everything() {
  try "$1" "$2" "make demo" '^accuracy' make demo
  try "$1" "$2" "make test-r" '^\[ FAIL ' make test-r
  # In another folder, because reticulate finds .venv in the project's folder
  try "$1" "$2" "install_kerasgd()" '^Python .* reticulate' \
    env --chdir=/tmp Rscript -e "$use_it"
}

as_root() {
  fresh_system root
  bring_sources root root
  everything root root
  try root root "R CMD check" '^Status: ' make check-package
}

# For this user, make only prints the command that root must run.
as_user() {
  local needs command
  fresh_system user
  bring_sources user tester
  for needs in needs-run needs-test; do
    command=$(inside user tester make "$needs" 2>&1 | sed -n '/^ *sudo /{s/sudo //g;p}') || true
    [[ -n $command ]] || die "\`make $needs\` names no command for root"
    say "Debian 13, root runs for the user:$command"
    DEBIAN_FRONTEND=noninteractive quietly debian-for-user chroot "$folder/user" sh -c "$command"
  done
  everything user tester
}

unmount
rm -rf "$folder"
mkdir -p "$folder"
: >"$summary"
say "Building Debian 13 from $mirror"
quietly debootstrap debootstrap --variant=minbase --include=ca-certificates,make \
  trixie "$folder/base" "$mirror"

(($#)) || set -- root user
for who in "$@"; do
  case $who in
    root) as_root ;;
    user) as_user ;;
    *) die "the argument of tools/fresh-debian.sh must be root or user, not '$who'" ;;
  esac
done

echo
cat "$summary"
exit "$failed"
