"""The only module that imports private modules of Keras; a test enforces this.

Private attributes are used elsewhere too. The optimizers keep the ones that Keras' own code reads:
`_trainable_variables` and `_trainable_variables_indices` (read by `stateless_apply()`),
`_model_variables_moving_average` (read by the callback `SwapEMAWeights`), `_iterations`,
`_learning_rate`, and on TensorFlow `_distribution_strategy`. Tests run with the oldest and the
newest supported Keras.
"""

from typing import Any

from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator
from keras.src.utils.tracking import no_automatic_dependency_tracking

__all__ = [
    "decays",
    "entry_around",
    "get_stateless_scope",
    "global_seed_state",
    "in_stateless_scope",
    "is_being_saved",
    "is_taken_away",
    "no_automatic_dependency_tracking",
    "rename",
    "set_path",
    "vars_of_wrapper",
]


def is_taken_away(variable: Any) -> bool:
    """Whether a variable has no value on JAX.

    During `fit()` the trainer holds the values. An interrupted step leaves arrays that JAX has
    deleted, because they were donated to the step.
    """
    value = getattr(variable, "_value", variable)
    return value is None or (hasattr(value, "is_deleted") and value.is_deleted())


def rename(variable: Any, name: str) -> None:
    """Change the name and the path of a variable, but not of the backend's variable inside it."""
    variable._path = variable.path.removesuffix(variable.name) + name
    variable._name = name


def global_seed_state() -> Any:
    """The state variable of the generator for random operations without a seed."""
    return global_seed_generator().state


def set_path(variable: Any, path: str) -> None:
    """Change the path of a variable."""
    variable._path = path


def is_being_saved() -> bool:
    """Whether Keras is writing a model to a `.keras` or a legacy `.h5` file."""
    # The first is set while a `.keras` file is written, the second while an `.h5` file is.
    sharing = get_global_attribute("shared_objects/id_to_obj_map") is not None
    return sharing or bool(get_global_attribute("use_legacy_config"))


def decays(optimizer: Any, variable: Any) -> bool:
    """Whether Keras' optimizer applies weight decay to this variable."""
    return bool(optimizer._use_weight_decay(variable))


def entry_around(store: Any) -> Any:
    """The HDF5 group that contains the arrays of this store; None for other stores."""
    return getattr(getattr(store, "_h5_entry_group", None), "parent", None)


def vars_of_wrapper(store: Any) -> Any:
    """The arrays of the wrapper, for an empty store of its inner optimizer.

    An optimizer that was not wrapped when it was saved has its arrays there.
    """
    path, _, last = str(getattr(store, "_h5_entry_path", "")).rpartition("/")
    file = getattr(store, "h5_file", None)
    if last != "inner_optimizer" or file is None:
        return {}
    return file.get(f"{path}/vars", {})
