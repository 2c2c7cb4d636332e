"""Support for subclasses of `SGD`: checks of their methods, and their state (contract 13.3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kerasgd.errors import SubclassError
from kerasgd.files.saved import OWN, OWN_OF_VARIABLE, Role

# Methods that Keras' own step calls on some or all backends, but ours never does.
UNUSED_HOOKS = (
    "_all_reduce_sum_gradients",
    "_apply_weight_decay",
    "_backend_apply_gradients",
    "_backend_increment_gradient_accumulators",
    "_backend_maybe_overwrite_model_variables",
    "_backend_reset_gradient_accumulators",
    "_backend_update_step",
    "_check_variables_are_known",
    "_clip_by_norm",
    "_clip_gradients",
    "_distributed_tf_update_step",
    "_filter_empty_gradients",
    "_get_current_learning_rate",
    "_is_excluded_from_weight_decay",
    "_overwrite_model_variables_with_average_value",
    "_overwrite_variable_with_gradient",
    "_overwrite_variables_directly_with_gradients",
    "_parallel_update_step",
    "_update_model_variables_moving_average",
    "_use_weight_decay",
)


def check_hooks(subclass: type, base: type) -> None:
    """Refuse a subclass that overrides methods which are never called.

    Raises:
        SubclassError: it overrides one of `UNUSED_HOOKS`.
    """
    for hook in UNUSED_HOOKS:
        if getattr(subclass, hook, None) is not getattr(base, hook, None):
            raise SubclassError(
                f"{subclass.__name__} overrides `{hook}()`, which `kerasgd.SGD` never calls. "
                "Override `update_step()` for another rule, or `apply()` to add code before and "
                "after a step."
            )


class OwnVariables:
    """The variables that a subclass adds, each with the role under which it is saved."""

    def __init__(self) -> None:
        self._by_role: dict[str, Any] = {}
        # While a variable is added for a trainable variable: its kind, and the latter's index.
        self._adding: Role | None = None
        self._marked: set[str] | None = None

    @contextlib.contextmanager
    def belonging_to(self, optimizer: Any, reference: Any, name: str) -> Iterator[None]:
        """A context in which added variables belong to the trainable variable `reference`."""
        index = optimizer._trainable_variables_indices.get(optimizer._var_key(reference))
        self._adding = None if index is None else Role(OWN_OF_VARIABLE + name, index)
        try:
            yield
        finally:
            self._adding = None

    def add(self, variable: Any, name: str) -> str:
        """Register a variable, and return its role."""
        role = self._adding or Role(OWN + name.replace("/", "_"))
        repeated = role
        count = 1
        while str(repeated) in self._by_role:
            count += 1
            repeated = Role(f"{role.kind}#{count}", role.index)
        self._by_role[str(repeated)] = variable
        return str(repeated)

    def mark(self) -> None:
        """Remember which variables exist now."""
        self._marked = set(self._by_role)

    def pop_since_mark(self) -> list[Any]:
        """Remove the variables that were added since `mark()`, and return them."""
        if self._marked is None:
            return []
        added = {role: v for role, v in self._by_role.items() if role not in self._marked}
        self._by_role = {role: v for role, v in self._by_role.items() if role in self._marked}
        self._marked = None
        return list(added.values())

    def by_role(self) -> dict[str, Any]:
        """All variables, by role."""
        return dict(self._by_role)

    def variables(self) -> list[Any]:
        """All variables."""
        return list(self._by_role.values())
