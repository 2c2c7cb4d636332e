#!/usr/bin/env bash
# Prints the R packages that DESCRIPTION names in the given fields, one a line. Written in awk, as
# it runs before R is installed.
# Usage: tools/r-dependencies.sh FIELD...
set -euo pipefail
source "$(dirname "$0")/common.sh"

# They come with R itself.
base='R|base|compiler|graphics|grDevices|grid|methods|parallel|splines|stats|stats4|tcltk|tools|utils'

for field in "$@"; do
  awk -v wanted="$field:" '/^[^[:space:]]/ { inside = ($1 == wanted); sub(/^[^:]*:/, "") } inside' DESCRIPTION
done | sed -e 's/([^)]*)//g' | tr -s ', \t' '\n' | grep -Ev "^($base)?$" || true
