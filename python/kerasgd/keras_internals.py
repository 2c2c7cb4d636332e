"""Private modules of Keras are imported here and nowhere else; a test holds that.

Private attributes are another matter. The optimizers keep those of their base class that Keras'
own code reads: `_trainable_variables` and `_trainable_variables_indices` (by `stateless_apply()`),
`_model_variables_moving_average` (by the callback `SwapEMAWeights`), `_iterations`,
`_learning_rate`, and on TensorFlow `_distribution_strategy`. The oldest and the newest supported
Keras are tested.
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

    During `fit()` the trainer holds the values. An interrupted step leaves arrays that were donated
    to it, which JAX has deleted.
    """
    value = getattr(variable, "_value", variable)
    return value is None or (hasattr(value, "is_deleted") and value.is_deleted())


def rename(variable: Any, name: str) -> None:
    """Give a variable another name and path; what it wraps keeps the name it was made with."""
    variable._path = variable.path.removesuffix(variable.name) + name
    variable._name = name


def global_seed_state() -> Any:
    """The variable with the state of the generator that random operations without a seed use."""
    return global_seed_generator().state


def set_path(variable: Any, path: str) -> None:
    """Give a variable another path."""
    variable._path = path


def is_being_saved() -> bool:
    """Whether Keras is writing a model to a `.keras` or a legacy `.h5` file."""
    # The first is set while the new format is written, the second while the old one is.
    sharing = get_global_attribute("shared_objects/id_to_obj_map") is not None
    return sharing or bool(get_global_attribute("use_legacy_config"))


def decays(optimizer: Any, variable: Any) -> bool:
    """Whether an optimizer of Keras lets this variable decay."""
    return bool(optimizer._use_weight_decay(variable))


def entry_around(store: Any) -> Any:
    """The group of an HDF5 file in which this store has its arrays; None for other stores."""
    return getattr(getattr(store, "_h5_entry_group", None), "parent", None)


def vars_of_wrapper(store: Any) -> Any:
    """What the file has for the wrapper, if this empty store was looked for inside of one.

    That is the place of an optimizer that was not wrapped when it was saved.
    """
    path, _, last = str(getattr(store, "_h5_entry_path", "")).rpartition("/")
    file = getattr(store, "h5_file", None)
    if last != "inner_optimizer" or file is None:
        return {}
    return file.get(f"{path}/vars", {})
