#!/usr/bin/env bash
# Prints the R packages in the given fields of DESCRIPTION, one per line. Written in awk, because it
# runs before R is installed.
# Usage: tools/r-dependencies.sh FIELD...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# These packages are part of R.
base='R|base|compiler|graphics|grDevices|grid|methods|parallel|splines|stats|stats4|tcltk|tools|utils'

for field in "$@"; do
  awk -v wanted="$field:" '/^[^[:space:]]/ { inside = ($1 == wanted); sub(/^[^:]*:/, "") } inside' DESCRIPTION
done | sed -e 's/([^)]*)//g' | tr -s ', \t' '\n' | grep -Ev "^($base)?$" || true
