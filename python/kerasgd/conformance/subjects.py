"""The optimizer class under test."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

import kerasgd


@dataclass(frozen=True)
class Subject:
    """The optimizer class under test, and the interpreters for other backends.

    Attributes:
        name: the name by which this process and child processes import the class.
        optimizer: the class.
        interpreters: for each other backend, a Python with kerasgd and Keras on that backend.
    """

    name: str
    optimizer: type[Any]
    interpreters: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An optimizer with these arguments."""
        return self.optimizer(*args, **kwargs)

    @property
    def is_of_kerasgd(self) -> bool:
        """Whether kerasgd's functions accept its optimizers."""
        return issubclass(self.optimizer, kerasgd.SGD)

    @property
    def loss_scale_optimizer(self) -> Callable[..., Any]:
        """The loss-scale class that wraps this one."""
        package = kerasgd if self.is_of_kerasgd else keras.optimizers
        found: Callable[..., Any] = package.LossScaleOptimizer
        return found


def find(name: str, interpreters: Mapping[str, str] | None = None) -> Subject:
    """The class called `name`, as in `"kerasgd:SGD"`.

    Raises:
        ValueError: there is no such class, or it is not an optimizer.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(f"A subject is written 'module:Class', as 'kerasgd:SGD', not {name!r}.")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ValueError(f"There is no module {error.name!r} for the subject {name!r}.") from None
    except AttributeError:
        raise ValueError(f"The module {module!r} has no {attribute!r}.") from None
    if not (isinstance(found, type) and issubclass(found, keras.optimizers.Optimizer)):
        raise ValueError(f"{name!r} is not a class of Keras optimizers.")
    return Subject(name, found, interpreters or {})
