"""Imports `kerasgd` as soon as Keras is imported, so that `load_model()` knows its classes.

Importing it right away would import Keras too, for seconds, in sessions that may not need it.
"""

import importlib.abc
import importlib.util
import sys


def follow(folder):
    """Import `kerasgd` once Keras is imported; from `folder` if it is not installed."""
    if "keras" in sys.modules:
        import_kerasgd(folder)
    else:
        sys.meta_path.insert(0, AfterKeras(folder))


class AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras like the other finders, and makes its loader import `kerasgd` afterwards."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):
        """Find Keras as the other finders of `sys.meta_path` do."""
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self.add_to(spec.loader)
        return spec

    def add_to(self, loader):
        """Make the loader import `kerasgd` when it is done."""
        load = loader.exec_module

        def exec_module(module):
            load(module)
            import_kerasgd(self.folder)

        loader.exec_module = exec_module


def import_kerasgd(folder):
    """Import `kerasgd`; if that fails, the first call of the R package reports the reason."""
    sys.path.insert(0, folder)
    try:
        importlib.import_module("kerasgd")
    except Exception:
        pass
    finally:
        sys.path.remove(folder)
