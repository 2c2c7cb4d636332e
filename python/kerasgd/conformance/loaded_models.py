"""Checks of contract 9.4a and 9.4d: models loaded with their optimizers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    same_bits,
    warned,
)
from kerasgd.conformance.files import folder, saved_and_loaded
from kerasgd.conformance.loading import ALL_STATE, MOMENTUM, carried_on, each_same, keeping
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    tensor,
    value,
)
from kerasgd.reference import Array

X = np.linspace(-1.0, 1.0, 12).reshape(4, 3)
Y = np.linspace(1.0, -1.0, 8).reshape(4, 2)


def network(optimizer: Any, units: int = 2) -> Any:
    """A compiled model of two layers, with the same initial weights each time."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3, name="first"), keras.layers.Dense(units, name="second")]
    return compiled(keras.Sequential([keras.Input((3,)), *layers]), optimizer)


def compiled(model: Any, optimizer: Any) -> Any:
    """The compiled model; its loss is an object, which legacy files can hold."""
    model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
    return model


def fitted(model: Any, epochs: int = 1) -> Any:
    """The model after training, two steps per epoch."""
    model.fit(X, Y, batch_size=2, epochs=epochs, shuffle=False, verbose=0)
    return model


def carried_on_by(model: Any) -> dict[str, Array]:
    """The velocity times the momentum of each trainable variable, by layer and name."""
    variables = model.trainable_variables
    names = ["/".join(variable.path.split("/")[-2:]) for variable in variables]
    return dict(zip(names, carried_on(model.optimizer, variables), strict=True))


def in_its_second_layer(moved: Mapping[str, Array]) -> list[Array]:
    """The movements of the second layer."""
    return [moved["second/kernel"], moved["second/bias"]]


def with_weights_of(saved: Any, model: Any, **options: Any) -> Any:
    """The model after loading a weights file from `saved`."""
    with folder() as path:
        saved.save_weights(path / "model.weights.h5")
        model.load_weights(path / "model.weights.h5", **options)
    return model


def through_a_legacy_file(model: Any) -> Any:
    """The model after saving to a file in the format of Keras 2, and loading."""
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
    """`load_weights()` right after `compile()` also loads the optimizer's state."""
    for name, arguments in (("momentum", MOMENTUM), ("all kinds of state", ALL_STATE)):
        model = fitted(network(subject(**arguments)))
        again = with_weights_of(model, network(subject(**arguments)))
        yield from _continues(name, model, again)


@check("9.4a")
def legacy_files(subject: Subject) -> Comparisons:
    """Legacy files keep the step count and all state too."""
    for name, arguments in (("momentum", MOMENTUM), ("all kinds of state", ALL_STATE)):
        model = fitted(network(subject(**arguments)))
        again = through_a_legacy_file(model)
        count = int(value(model.optimizer.iterations))
        yield equal(f"{name}, iterations", count, int(value(again.optimizer.iterations)))
        yield from _continues(name, model, again)


@check("9.4a")
def frozen_base(subject: Subject) -> Comparisons:
    """A trained model is frozen inside another model; both optimizers continue."""
    base = fitted(network(subject(**MOMENTUM)))
    base.trainable = False
    head = keras.layers.Dense(2, name="head")
    model = compiled(keras.Sequential([keras.Input((3,)), base, head]), subject(**MOMENTUM))
    again = saved_and_loaded(fitted(model))
    yield from _continues("weights", model, again)
    velocities = []
    for inner in (base, again.layers[0]):
        for part in (inner, *inner.layers):
            part.trainable = True
        inner.optimizer.build(inner.trainable_variables)
        velocities.append(list(carried_on_by(inner).values()))
    yield from each_same("remaining velocity of the base", *velocities)


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
    """One warning names the state left out; the other layer continues from its state."""
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
        yield from each_same(f"frozen {name}, remaining velocity", expected, actual)


@check("9.4a")
def unfrozen_since(subject: Subject) -> Comparisons:
    """An unfrozen layer starts without velocity, and nothing is left out."""
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
    """A model with two optimizers, as in adversarial networks."""

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
        """Restore both optimizers."""
        self.compile(*(keras.saving.deserialize_keras_object(config[k]) for k in sorted(config)))


def two_optimizers(subject: Subject) -> Any:
    """A `TwoOptimizers` model whose optimizers are not built."""
    model = TwoOptimizers()
    model(X)
    of_two = subject(learning_rate=2.0, momentum=0.5)
    model.compile(subject(learning_rate=0.5, momentum=0.5), of_two)
    return model


@check("9.4a")
def with_two_optimizers(subject: Subject) -> Comparisons:
    """Each optimizer restores its own state, from both kinds of file."""
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
        yield close(f"{name}, remaining velocities", [-0.25, -1.0], moved)


@check("9.4a")
def from_another_class(subject: Subject) -> Comparisons:
    """Weights trained with Adam load with one warning, and training continues."""
    model, again = fitted(network(keras.optimizers.Adam())), network(subject(**MOMENTUM))
    again.optimizer.build(again.trainable_variables)
    yield warned("load_weights()", partial(with_weights_of, model, again), again.optimizer.name)
    yield from each_same("weights", model.get_weights(), again.get_weights())
    fitted(again)
    yield equal("iterations", 2, int(value(again.optimizer.iterations)))


@check("9.4a")
def with_other_arguments(subject: Subject) -> Comparisons:
    """State that the loading optimizer does not keep is left out with one warning."""
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


# Weights that are skipped on request -----------------------------------------------------------


@check("9.4d")
def skipped_on_request(subject: Subject) -> Comparisons:
    """The unchanged layer gets its weights and velocity; the other layer is new."""
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
        yield same_bits(f"remaining velocity, {name}", expected[name], actual[name])
    yield same_bits("remaining velocity, second/bias", np.zeros(4), actual["second/bias"])
