"""Checks of contract 9.4 to 9.4d: state that is loaded into an optimizer.

A velocity is seen from outside by a step without gradient, which moves a weight by the velocity
times the momentum.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

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
from kerasgd.conformance.files import folder, saved_and_loaded, state_of
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    random_problem,
    reference_run,
    scalar,
    tensor,
    value,
    values,
    variables_of,
)
from kerasgd.reference import Array

MOMENTUM: dict[str, Any] = {"learning_rate": 0.5, "momentum": 0.5}
ALL_STATE: dict[str, Any] = {
    **MOMENTUM,
    "use_ema": True,
    "ema_momentum": 0.5,
    "gradient_accumulation_steps": 4,
}

# The problem of all checks without a model; its third variable has the shape of the first.
THREE = random_problem(steps=12, shapes=((3,), (2, 2), (3,)))
# In the middle of a window of four.
INTERRUPTED = 6


def apply(optimizer: Any, variables: Sequence[Any], gradients: Sequence[Sequence[Any]]) -> None:
    """Do a step with each of the gradients."""
    for step in gradients:
        optimizer.apply([tensor(gradient) for gradient in step], variables)


def carried_on(optimizer: Any, variables: Sequence[Any]) -> list[Array]:
    """How far each variable moves at a step without gradient: momentum times velocity."""
    for variable in variables:
        variable.assign(np.zeros(variable.shape))
    optimizer.apply([tensor(np.zeros(variable.shape)) for variable in variables], variables)
    return values(variables)


def copied(variables: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """New variables with the same values."""
    return [
        keras.Variable(v, dtype="float32", name=name)
        for v, name in zip(values(variables), names, strict=True)
    ]


def each_same(where: str, expected: Sequence[Any], actual: Sequence[Any]) -> Comparisons:
    """Whether lists of arrays agree bit for bit."""
    yield equal(f"{where}, number", len(expected), len(actual))
    for i, (one, other) in enumerate(zip(expected, actual, strict=False)):
        yield same_bits(f"{where}, {i}", one, other)


# State belongs to a variable -------------------------------------------------------------------


@check("9.4")
def other_order(subject: Subject) -> Comparisons:
    """The same two variables in another order: each has its own velocity."""
    problem = Problem([[0.0], [0.0]], [[[1.0], [2.0]]])
    saved, variables = subject(learning_rate=1.0, momentum=0.5), variables_of(problem)
    apply(saved, variables, problem.gradients)
    other = subject(learning_rate=1.0, momentum=0.5)
    other.build(variables[::-1])
    other.load_own_variables(state_of(saved))
    other.apply([tensor([0.0]), tensor([0.0])], variables[::-1])
    yield close("other order", [-1.5, -3.0], np.ravel(values(variables)))


@check("9.4")
def other_paths(subject: Subject) -> Comparisons:
    """As many variables of the same shapes under other paths are paired in order."""
    saved, variables = subject(**MOMENTUM), variables_of(THREE)
    apply(saved, variables, THREE.gradients)
    renamed = copied(variables, ["one", "two", "three"])
    other = subject(**MOMENTUM)
    other.build(renamed)
    other.load_own_variables(state_of(saved))
    expected = carried_on(saved, variables)
    yield from each_same("what is left of the velocity", expected, carried_on(other, renamed))


@check("9.4")
def others_removed(subject: Subject) -> Comparisons:
    """Those that are left go on, in the middle of a window too, as if nothing had been."""
    optimizer, variables = subject(**ALL_STATE), variables_of(THREE)
    apply(optimizer, variables, THREE.gradients[:INTERRUPTED])
    left = copied([variables[2], variables[1]], ["w2", "w1"])
    other = subject(**ALL_STATE)
    other.build(left)
    other.load_own_variables(state_of(optimizer))
    rest = THREE.gradients[INTERRUPTED:]
    apply(optimizer, variables, rest)
    apply(other, left, [[gradients[2], gradients[1]] for gradients in rest])
    for what in ("weight", "average"):
        if what == "average":
            optimizer.finalize_variable_values(variables)
            other.finalize_variable_values(left)
        yield same_bits(f"{what} of w2", value(variables[2]), value(left[0]))
        yield same_bits(f"{what} of w1", value(variables[1]), value(left[1]))


@check("9.4")
def others_added(subject: Subject) -> Comparisons:
    """A new variable starts without velocity, the others keep theirs."""
    saved, variables = subject(**MOMENTUM), variables_of(THREE)
    apply(saved, variables, THREE.gradients)
    expected = carried_on(saved, variables)
    more = [keras.Variable(np.ones(3), dtype="float32", name="new"), *variables]
    other = subject(**MOMENTUM)
    other.build(more)
    other.load_own_variables(state_of(saved))
    moved = carried_on(other, more)
    yield same_bits("the new one", np.zeros(3), moved[0])
    # `saved` did one step more, which halved its velocities
    for name, one, two in zip(("w0", "w1", "w2"), expected, moved[1:], strict=True):
        yield same_bits(name, 0.5 * one, two)


@check("9.4")
def of_an_unbuilt_optimizer(subject: Subject) -> Comparisons:
    """Its state restores the rate and the count, and the optimizer trains on."""
    saved = subject(learning_rate=0.25, momentum=0.5)
    optimizer, problem = subject(learning_rate=0.5, momentum=0.5), scalar(0.0, [1.0, 1.0])
    APPLY.train(optimizer, problem)
    optimizer.load_own_variables(state_of(saved))
    yield close("rate", 0.25, value(optimizer.learning_rate))
    yield equal("iterations", 0, int(value(optimizer.iterations)))


# A model always loads --------------------------------------------------------------------------

X = np.linspace(-1.0, 1.0, 12).reshape(4, 3)
Y = np.linspace(1.0, -1.0, 8).reshape(4, 2)


def network(optimizer: Any, units: int = 2) -> Any:
    """A compiled model of two layers, with the same first weights each time."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3, name="first"), keras.layers.Dense(units, name="second")]
    return compiled(keras.Sequential([keras.Input((3,)), *layers]), optimizer)


def compiled(model: Any, optimizer: Any) -> Any:
    """The model, compiled; a loss that is an object is what legacy files can hold."""
    model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
    return model


def fitted(model: Any, epochs: int = 1) -> Any:
    """The model after two steps an epoch."""
    model.fit(X, Y, batch_size=2, epochs=epochs, shuffle=False, verbose=0)
    return model


def carried_on_by(model: Any) -> dict[str, Array]:
    """What is left of the velocity of each trainable variable, by layer and name."""
    variables = model.trainable_variables
    names = ["/".join(variable.path.split("/")[-2:]) for variable in variables]
    return dict(zip(names, carried_on(model.optimizer, variables), strict=True))


def in_its_second_layer(moved: Mapping[str, Array]) -> list[Array]:
    """Of these movements, those of the second layer."""
    return [moved["second/kernel"], moved["second/bias"]]


def with_weights_of(saved: Any, model: Any, **options: Any) -> Any:
    """The model, with what a weights file has brought from `saved`."""
    with folder() as path:
        saved.save_weights(path / "model.weights.h5")
        model.load_weights(path / "model.weights.h5", **options)
    return model


def through_a_legacy_file(model: Any) -> Any:
    """The model, as a file in the format of Keras 2 gives it back."""
    with folder() as path:
        model.save(path / "model.h5")
        return keras.saving.load_model(path / "model.h5")


def _continues(where: str, model: Any, again: Any) -> Comparisons:
    """Whether two models end with the same weights after further training."""
    for one in (model, again):
        fitted(one, epochs=2)
    yield from each_same(where, model.get_weights(), again.get_weights())


@check("9.4a")
def weights_of_a_fresh_model(subject: Subject) -> Comparisons:
    """`load_weights()` right after `compile()` brings the optimizer's state along."""
    for name, arguments in (("momentum", MOMENTUM), ("all kinds of state", ALL_STATE)):
        model = fitted(network(subject(**arguments)))
        again = with_weights_of(model, network(subject(**arguments)))
        yield from _continues(name, model, again)


@check("9.4a")
def legacy_files(subject: Subject) -> Comparisons:
    """They have the count of steps and all state too."""
    for name, arguments in (("momentum", MOMENTUM), ("all kinds of state", ALL_STATE)):
        model = fitted(network(subject(**arguments)))
        again = through_a_legacy_file(model)
        count = int(value(model.optimizer.iterations))
        yield equal(f"{name}, iterations", count, int(value(again.optimizer.iterations)))
        yield from _continues(name, model, again)


@check("9.4a")
def frozen_base(subject: Subject) -> Comparisons:
    """A model that was trained, then frozen inside another one."""
    base = fitted(network(subject(**MOMENTUM)))
    base.trainable = False
    head = keras.layers.Dense(2, name="head")
    model = compiled(keras.Sequential([keras.Input((3,)), base, head]), subject(**MOMENTUM))
    again = saved_and_loaded(fitted(model))
    yield from _continues("weights", model, again)


def keeping(load: Callable[[], Any]) -> tuple[Callable[[], None], list[Any]]:
    """A call of `load`, and the list that has its result afterwards."""
    results: list[Any] = []
    return lambda: results.append(load()), results


def _frozen_before_saving(subject: Subject) -> tuple[Any, Callable[[], Any]]:
    model = fitted(network(subject(**MOMENTUM)))
    model.layers[0].trainable = False
    return model, partial(saved_and_loaded, model)


def _frozen_before_loading(subject: Subject) -> tuple[Any, Callable[[], Any]]:
    model, again = fitted(network(subject(**MOMENTUM))), network(subject(**MOMENTUM))
    again.layers[0].trainable = False
    again.optimizer.build(again.trainable_variables)
    return model, partial(with_weights_of, model, again)


@check("9.4a")
def frozen_since(subject: Subject) -> Comparisons:
    """One warning says what is left out; the other layer goes on where it was."""
    for name, prepare in (
        ("before saving", _frozen_before_saving),
        ("before loading", _frozen_before_loading),
    ):
        model, load = prepare(subject)
        load, loaded = keeping(load)
        yield warned(f"frozen {name}", load, "first/")
        model.layers[0].trainable = True
        expected = in_its_second_layer(carried_on_by(model))
        actual = in_its_second_layer(carried_on_by(loaded[0]))
        yield from each_same(f"frozen {name}, what is left of the velocity", expected, actual)


@check("9.4a")
def unfrozen_since(subject: Subject) -> Comparisons:
    """What is trained anew starts without velocity, and nothing is left out."""
    model = network(subject(**MOMENTUM))
    model.layers[0].trainable = False
    fitted(model)
    again = network(subject(**MOMENTUM))
    again.optimizer.build(again.trainable_variables)
    naming = again.optimizer.name
    yield warned("load_weights()", partial(with_weights_of, model, again), naming, times=0)
    expected, actual = carried_on_by(model), carried_on_by(again)
    yield same_bits("first kernel", np.zeros((3, 3)), actual["first/kernel"])
    yield from each_same("second layer", list(expected.values()), in_its_second_layer(actual))


@keras.saving.register_keras_serializable("kerasgd.conformance")
class TwoOptimizers(keras.Model):  # type: ignore[misc]
    """A model with two optimizers, as adversarial networks have them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.one = keras.layers.Dense(2, name="one")
        self.two = keras.layers.Dense(2, name="two")

    def call(self, inputs: Any) -> Any:
        """Add the outputs of the two layers."""
        return self.one(inputs) + self.two(inputs)

    def compile(self, of_one: Any, of_two: Any) -> None:
        """Take an optimizer for each layer."""
        super().compile()
        self.of_one, self.of_two = of_one, of_two

    def get_compile_config(self) -> dict[str, Any]:
        """Both optimizers."""
        return {
            "of_one": keras.saving.serialize_keras_object(self.of_one),
            "of_two": keras.saving.serialize_keras_object(self.of_two),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Take both back."""
        self.compile(*(keras.saving.deserialize_keras_object(config[k]) for k in sorted(config)))


def two_optimizers(subject: Subject) -> Any:
    """A model of that kind, neither of whose optimizers is built."""
    model = TwoOptimizers()
    model(X)
    of_two = subject(learning_rate=2.0, momentum=0.5)
    model.compile(subject(learning_rate=0.5, momentum=0.5), of_two)
    return model


@check("9.4a")
def with_two_optimizers(subject: Subject) -> Comparisons:
    """Each has its own state back, from both kinds of file."""
    for name, load in (
        (".keras file", saved_and_loaded),
        ("weights file", lambda model: with_weights_of(model, two_optimizers(subject))),
    ):
        model = two_optimizers(subject)
        for optimizer, layer in ((model.of_one, model.one), (model.of_two, model.two)):
            ones = [tensor(np.ones(v.shape)) for v in layer.trainable_variables]
            optimizer.apply(ones, layer.trainable_variables)
        again = load(model)
        moved = (
            carried_on(again.of_one, again.one.trainable_variables)[0][0, 0],
            carried_on(again.of_two, again.two.trainable_variables)[0][0, 0],
        )
        yield close(f"{name}, what is left of the velocities", [-0.25, -1.0], moved)


@check("9.4a")
def from_another_class(subject: Subject) -> Comparisons:
    """Weights that were trained with Adam: one warning, and training goes on."""
    model, again = fitted(network(keras.optimizers.Adam())), network(subject(**MOMENTUM))
    again.optimizer.build(again.trainable_variables)
    yield warned("load_weights()", partial(with_weights_of, model, again), again.optimizer.name)
    yield from each_same("weights", model.get_weights(), again.get_weights())
    fitted(again)
    yield equal("iterations", 2, int(value(again.optimizer.iterations)))


@check("9.4a")
def with_other_arguments(subject: Subject) -> Comparisons:
    """State that the receiving optimizer does not keep is left out with one warning."""
    model = fitted(network(subject(**ALL_STATE)))
    for argument, instead in (
        ("momentum", 0.0),
        ("use_ema", False),
        ("gradient_accumulation_steps", None),
    ):
        again = network(subject(**{**ALL_STATE, argument: instead}))
        again.optimizer.build(again.trainable_variables)
        yield warned(f"without {argument}", partial(with_weights_of, model, again), argument)
        fitted(again)


# Strictly --------------------------------------------------------------------------------------


def restored(subject: Subject, saved: Any, variables: list[Any]) -> Any:
    """An optimizer for these variables with the settings and the state of `saved`.

    kerasgd has functions for it; of another class it is what Keras' interface makes possible.
    """
    if not subject.is_of_kerasgd:
        optimizer = subject.optimizer.from_config(saved.get_config())
        optimizer.build(variables)
        optimizer.load_own_variables(state_of(saved))
        return optimizer
    with folder() as path:
        file = str(path / "optimizer")
        kerasgd.save_optimizer(saved, file)
        return kerasgd.load_optimizer(file, variables)


def _stepped(subject: Subject, *shapes: tuple[int, ...], **arguments: Any) -> tuple[Any, list[Any]]:
    """An optimizer that has done two steps, and its variables."""
    problem = random_problem(steps=2, shapes=shapes)
    optimizer, variables = subject(**arguments), variables_of(problem)
    apply(optimizer, variables, problem.gradients)
    return optimizer, variables


@check("9.4b")
def state_that_fits(subject: Subject) -> Comparisons:
    """It continues bit for bit, also in the middle of a window."""
    optimizer, variables = subject(**ALL_STATE), variables_of(THREE)
    apply(optimizer, variables, THREE.gradients[:INTERRUPTED])
    copies = copied(variables, ["w0", "w1", "w2"])
    other = restored(subject, optimizer, copies)
    for one, its in ((optimizer, variables), (other, copies)):
        apply(one, its, THREE.gradients[INTERRUPTED:])
        one.finalize_variable_values(its)
    yield from each_same("weights", values(variables), values(copies))


@check("9.4b")
def state_that_does_not_fit(subject: Subject) -> Comparisons:
    """The error names what differs, and the variables are as they were."""
    for name, shapes, naming in (
        ("another shape", ((4,), (2,)), "shape"),
        ("fewer variables", ((3,),), "variables"),
        ("more variables", ((3,), (2,), (2,)), "variables"),
    ):
        saved, _ = _stepped(subject, (3,), (2,), **ALL_STATE)
        variables = variables_of(random_problem(steps=0, shapes=shapes))
        before = values(variables)
        yield refused(name, partial(restored, subject, saved, variables), naming)
        yield from each_same(f"{name}, weights", before, values(variables))


@check("9.4b")
def leniently_on_request(subject: Subject) -> Comparisons:
    """`strict=False` leaves out what does not fit, with one warning."""
    only_of_kerasgd(subject, "load_optimizer")
    saved, variables = _stepped(subject, (3,), (2,), **MOMENTUM)
    [kept] = variables_of(random_problem(steps=0, shapes=((3,),)))
    with folder() as path:
        file = str(path / "optimizer")
        kerasgd.save_optimizer(saved, file)
        load, loaded = keeping(partial(kerasgd.load_optimizer, file, [kept], strict=False))
        yield warned("strict=False", load, "w1")
    expected = carried_on(saved, variables)[:1]
    yield from each_same("what is left of the velocity", expected, carried_on(loaded[0], [kept]))


# Of other classes ------------------------------------------------------------------------------


def _without_velocity(where: str, model: Any) -> Comparisons:
    for name, moved in carried_on_by(model).items():
        yield same_bits(f"{where}, what is left of a velocity, {name}", 0 * moved, moved)


@check("9.4c")
def never_guessed_at(subject: Subject) -> Comparisons:
    """RMSprop's state has the form of SGD's; ours does not take that of Keras' own SGD either."""
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
    """After `from_keras()` training ends where the reference ends without an interruption."""
    only_of_kerasgd(subject, "from_keras")
    for name, arguments in FROM_KERAS.items():
        theirs, variables = keras.optimizers.SGD(**arguments), variables_of(THREE)
        apply(theirs, variables, THREE.gradients[:INTERRUPTED])
        ours = kerasgd.from_keras(theirs)
        apply(ours, variables, THREE.gradients[INTERRUPTED:])
        ours.finalize_variable_values(variables)
        expected = reference_run(THREE, **arguments).final
        for i, (one, two) in enumerate(zip(expected, values(variables), strict=True)):
            yield close(f"{name}, w{i}", one, two)


@check("9.4c")
def model_taken_over(subject: Subject) -> Comparisons:
    """`model.compile(from_keras(model.optimizer))` continues what Keras' SGD began."""
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
    """By name."""
    only_of_kerasgd(subject, "from_keras")
    for other in (keras.optimizers.Adam(), keras.optimizers.RMSprop()):
        naming = type(other).__name__
        yield refused(f"from_keras({naming})", partial(kerasgd.from_keras, other), naming)


# On request, weights that do not fit are left out ----------------------------------------------


@check("9.4d")
def skipped_on_request(subject: Subject) -> Comparisons:
    """The layer that is the same has weights and velocity, the other one is new."""
    model = fitted(network(subject(**MOMENTUM)))
    again = network(subject(**MOMENTUM), units=4)
    again.optimizer.build(again.trainable_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_weights_of(model, again, skip_mismatch=True)
    yield from each_same(
        "weights of the first layer", model.layers[0].get_weights(), again.layers[0].get_weights()
    )
    expected, actual = carried_on_by(model), carried_on_by(again)
    for name in ("first/kernel", "first/bias"):
        yield same_bits(f"what is left of the velocity, {name}", expected[name], actual[name])
    yield same_bits("what is left of the velocity, second/bias", np.zeros(4), actual["second/bias"])
