"""Checks of contract 9.4c: state saved by Keras' own classes."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

import kerasgd
from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    only_of_kerasgd,
    refused,
    same_bits,
    warned,
)
from kerasgd.conformance.files import saved_and_loaded
from kerasgd.conformance.loaded_models import (
    carried_on_by,
    compiled,
    fitted,
    network,
    with_weights_of,
)
from kerasgd.conformance.loading import INTERRUPTED, MOMENTUM, THREE, do_steps
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    reference_run,
    value,
    values,
    variables_of,
)


def _without_velocity(where: str, model: Any) -> Comparisons:
    for name, moved in carried_on_by(model).items():
        yield same_bits(f"{where}, remaining velocity, {name}", 0 * moved, moved)


@check("9.4c")
def never_guessed_at(subject: Subject) -> Comparisons:
    """RMSprop's state looks like SGD's: kerasgd loads neither, not even that of Keras' SGD."""
    theirs = (
        keras.optimizers.RMSprop(),
        keras.optimizers.Adam(),
        keras.optimizers.SGD(momentum=0.5),
        keras.optimizers.SGD(use_ema=True),
    )
    for other in theirs:
        if type(other) is type(subject()):
            continue
        name = type(other).__name__
        model, again = fitted(network(other)), network(subject(**MOMENTUM))
        again.optimizer.build(again.trainable_variables)
        naming = "from_keras" if subject.is_of_kerasgd else again.optimizer.name
        yield warned(f"state of {name}", partial(with_weights_of, model, again), naming)
        yield equal(f"{name}, iterations", 0, int(value(again.optimizer.iterations)))
        yield from _without_velocity(f"state of {name}", again)


FROM_KERAS: dict[str, dict[str, Any]] = {
    "plain": {"learning_rate": 0.5},
    "nesterov": {"learning_rate": 0.25, "momentum": 0.5, "nesterov": True},
    "decay and clip": {
        "learning_rate": 0.25,
        "momentum": 0.5,
        "weight_decay": 0.5,
        "global_clipnorm": 0.5,
    },
    "average": {"learning_rate": 0.25, "use_ema": True, "ema_momentum": 0.5},
    "open window": {"learning_rate": 0.5, "momentum": 0.5, "gradient_accumulation_steps": 4},
}


@check("9.4c")
def taken_over(subject: Subject) -> Comparisons:
    """After `from_keras()` training ends like the reference without an interruption."""
    only_of_kerasgd(subject, "from_keras")
    for name, arguments in FROM_KERAS.items():
        theirs, variables = keras.optimizers.SGD(**arguments), variables_of(THREE)
        do_steps(theirs, variables, THREE.gradients[:INTERRUPTED])
        ours = kerasgd.from_keras(theirs)
        do_steps(ours, variables, THREE.gradients[INTERRUPTED:])
        ours.finalize_variable_values(variables)
        expected = reference_run(THREE, **arguments).final
        for i, (one, two) in enumerate(zip(expected, values(variables), strict=True)):
            yield close(f"{name}, w{i}", one, two)


@check("9.4c")
def model_taken_over(subject: Subject) -> Comparisons:
    """`model.compile(from_keras(model.optimizer))` continues the training of Keras' SGD."""
    only_of_kerasgd(subject, "from_keras")
    theirs = fitted(network(keras.optimizers.SGD(**MOMENTUM)))
    ours = saved_and_loaded(theirs)
    compiled(ours, kerasgd.from_keras(ours.optimizer))
    for model in (theirs, ours):
        fitted(model, epochs=2)
    for one, two in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        yield close("weights", one, two)


@check("9.4c")
def other_classes_refused(subject: Subject) -> Comparisons:
    """Other classes are refused by name."""
    only_of_kerasgd(subject, "from_keras")
    for other in (keras.optimizers.Adam(), keras.optimizers.RMSprop()):
        naming = type(other).__name__
        yield refused(f"from_keras({naming})", partial(kerasgd.from_keras, other), naming)
