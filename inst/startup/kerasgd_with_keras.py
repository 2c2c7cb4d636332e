"""Imports `kerasgd` as soon as Keras is imported: `load_model()` knows no classes but those.

To import it at once would take the seconds that Keras takes, in sessions that may not need it.
"""

import importlib.abc
import importlib.util
import sys


def follow(folder):
    """Import `kerasgd`, which lies in `folder` if it is not installed, once Keras is imported."""
    if "keras" in sys.modules:
        import_kerasgd(folder)
    else:
        sys.meta_path.insert(0, AfterKeras(folder))


class AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras as others do, and adds to its loading that `kerasgd` is imported after it."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):
        """As the other finders of `sys.meta_path`."""
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self.add_to(spec.loader)
        return spec

    def add_to(self, loader):
        """Have the loader import `kerasgd` when it is done."""
        load = loader.exec_module

        def exec_module(module):
            load(module)
            import_kerasgd(self.folder)

        loader.exec_module = exec_module


def import_kerasgd(folder):
    """Import it, or leave it to the first call of the R package to say why that fails."""
    sys.path.insert(0, folder)
    try:
        importlib.import_module("kerasgd")
    except Exception:
        pass
    finally:
        sys.path.remove(folder)
