"""The examples in the docstrings run, and give the output that they show."""

import doctest
import importlib
import pkgutil

import pytest
from conftest import BACKEND

import kerasgd

OTHERS = {"tensorflow", "jax", "torch"} - {BACKEND}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(kerasgd.__path__, "kerasgd.")
    if not OTHERS & set(module.name.split(".")) and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
