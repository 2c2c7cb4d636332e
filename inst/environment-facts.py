"""Reports this Python's environment to R, one `name<TAB>value` per line, without importing it.

R runs this in a separate process before it decides to start this Python.
"""

import glob
import json
import os
import sys
import sysconfig

print("python_version\t%d.%d.%d" % sys.version_info[:3])
sys.stdout.flush()

from importlib import metadata, util  # noqa: E402 (old Pythons get no further)

# The distributions that may provide each module.
DISTRIBUTIONS = {
    "numpy": ["numpy"],
    "keras": ["keras", "keras-nightly"],
    "tensorflow": [
        "tensorflow",
        "tensorflow-cpu",
        "tensorflow-macos",
        "tensorflow-intel",
        "tf-nightly",
        "tf-nightly-cpu",
    ],
    "jax": ["jax"],
    "torch": ["torch"],
}


def version(module):
    for distribution in DISTRIBUTIONS[module]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            pass
    return "unknown"


def configured_backend():
    """The backend by Keras' own rule: the environment variable, the file, then TensorFlow."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json")) as file:
            configured = json.load(file).get("backend", "tensorflow")
    except (OSError, ValueError):
        configured = "tensorflow"
    return os.environ.get("KERAS_BACKEND") or configured


def has_shared_library():
    """Whether this Python has a shared library, which R needs, and some on Linux lack."""
    if not sys.platform.startswith("linux"):
        return True
    folders = [sysconfig.get_config_var(name) or "" for name in ("LIBPL", "LIBDIR")]
    folders.append(os.path.join(sys.base_prefix, "lib"))
    file = "libpython%d.%d*.so*" % sys.version_info[:2]
    return any(glob.glob(os.path.join(folder, file)) for folder in folders)


def can_make_environments():
    """Whether this Python can create environments; Debian removes these two modules."""
    return bool(util.find_spec("venv") and util.find_spec("ensurepip"))


print("executable\t%s" % sys.executable)
print("shared_library\t%s" % str(has_shared_library()).upper())
print("venv\t%s" % str(can_make_environments()).upper())
print("pip\t%s" % str(bool(util.find_spec("pip"))).upper())
for module in DISTRIBUTIONS:
    if util.find_spec(module):
        print("%s\t%s" % (module, version(module)))
print("configured_backend\t%s" % configured_backend())
