#!/usr/bin/env bash
# Prints the Python to create environments with: $PYTHON, or the first python3 on the PATH, or
# Debian's. It must be able to create environments, and it must have a shared library, so that R can
# load it. Fails if there is none.
set -euo pipefail

fits='
import ensurepip, os, sys, sysconfig, venv
library = os.path.join(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
if sys.version_info < (3, 11) or not library.endswith(".so.1.0") or not os.path.exists(library):
    sys.exit(1)
print(sys.executable)
'
for python in "${PYTHON:-python3}" /usr/bin/python3; do
  if "$python" -c "$fits" 2>/dev/null; then
    exit 0
  fi
done
exit 1
