"""Checks of contract 9: saving and loading."""

from __future__ import annotations

import json
import pickle
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance import child, subjects
from kerasgd.conformance.checks import (
    Comparisons,
    NotTestedHere,
    check,
    close,
    equal,
    refused,
    same_bits,
)
from kerasgd.conformance.files import folder, saved_and_loaded, unchanged
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Problem,
    Rate,
    compiled,
    fit,
    fit_options,
    random_problem,
    reference_run,
    value,
    values,
)
from kerasgd.reference import ReferenceSGD, Schedule


def shrinking_schedule() -> Any:
    """A schedule with the rates 0.5, 0.45, 0.405, ..."""
    return keras.optimizers.schedules.ExponentialDecay(0.5, decay_steps=1, decay_rate=0.9)


SHRINKING = Rate(shrinking_schedule, lambda: Schedule(lambda t: 0.5 * 0.9**t))
ARGUMENTS: dict[str, Any] = {
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.25,
    "clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "gradient_accumulation_steps": 4,
}

# Training is interrupted after six of ten steps, in the middle of a window of four.
WHOLE = random_problem(steps=10)
FIRST = Problem(WHOLE.weights, WHOLE.gradients[:6])
SECOND = Problem(WHOLE.weights, WHOLE.gradients[6:])


def optimizer_to_save(subject: Subject) -> Any:
    """An optimizer with all kinds of state."""
    optimizer = subject(learning_rate=shrinking_schedule(), **ARGUMENTS)
    optimizer.exclude_from_weight_decay(var_names=["w0"])
    return optimizer


# Files -----------------------------------------------------------------------------------------


@check("9.1")
def continued_from_a_file(subject: Subject) -> Comparisons:
    """At the end, all weights and all state of the optimizer are equal."""
    for name, options in fit_options().items():
        outcomes = []
        for between in (unchanged, saved_and_loaded):
            keras.utils.clear_session(free_memory=False)
            model = compiled(optimizer_to_save(subject), WHOLE, **options)
            fit(model, FIRST)
            model = between(model)
            fit(model, SECOND)
            outcomes.append((model.trainable_variables, model.optimizer.variables))
        for what, expected, actual in zip(("weight", "state"), *outcomes, strict=True):
            yield equal(f"{name}, {what}s", len(expected), len(actual))
            for one, other in zip(expected, actual, strict=True):
                yield same_bits(f"{name}, {what} {one.path}", value(one), value(other))


def write_file(subject: str, path: str) -> str:
    """Train the first part on this backend, save, and return the backend's name."""
    model = compiled(optimizer_to_save(subjects.find(subject)), WHOLE)
    fit(model, FIRST)
    model.save(path)
    return str(keras.config.backend())


def continue_file(path: str) -> list[list[float]]:
    """Train the second part on this backend, and return the weights."""
    model = keras.saving.load_model(path)
    fit(model, SECOND)
    return [np.ravel(weights).tolist() for weights in values(model.trainable_variables)]


@check("9.2", deviations=("D16",))
def continued_under_another_backend(subject: Subject) -> Comparisons:
    """A file continues from this backend on another one, and the reverse."""
    if not subject.interpreters:
        raise NotTestedHere("no Python with another backend was named")
    here = keras.config.backend()
    expected = _reference_of_both_parts()
    for there, python in subject.interpreters.items():
        elsewhere = partial(child.call, python=python, KERAS_BACKEND=there)
        with folder() as path:
            file = str(path / "here.keras")
            write_file(subject.name, file)
            yield from _each_close(f"{here} to {there}", expected, elsewhere(continue_file, file))
            file = str(path / "there.keras")
            yield equal(
                "backend of the other interpreter", there, elsewhere(write_file, subject.name, file)
            )
            yield from _each_close(f"{there} to {here}", expected, continue_file(file))


def _each_close(where: str, expected: list[Any], actual: list[Any]) -> Comparisons:
    for i, (wanted, got) in enumerate(zip(expected, actual, strict=True)):
        yield close(f"{where}, w{i}", np.ravel(wanted), np.ravel(got))


def _reference_of_both_parts() -> list[Any]:
    """Each `fit()` ends with the averages in the weights; the second continues from there."""
    sgd = ReferenceSGD(learning_rate=SHRINKING.of_reference(), **ARGUMENTS)
    sgd.build(WHOLE.weights, exclude_from_weight_decay=[0])
    for part in (FIRST, SECOND):
        for gradients in part.gradients:
            sgd.step(gradients)
        sgd.finalize_variable_values()
    return list(sgd.weights)


# Configuration ---------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("kerasgd.conformance")  # type: ignore[untyped-decorator]
def registered_rate() -> float:
    """A rate function that is registered with Keras."""
    return 0.25


@check("9.3")
def configuration_round_trips(subject: Subject) -> Comparisons:
    """Every argument makes a round trip through JSON."""
    arguments: dict[str, Any] = {
        "learning_rate": 0.1,
        "momentum": 0.3,
        "nesterov": True,
        "weight_decay": 0.7,
        "clipnorm": None,
        "clipvalue": 1 / 3,
        "global_clipnorm": None,
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 3,
        "name": "mine",
        "loss_scale_factor": 1.1,
        "gradient_accumulation_steps": 5,
    }
    config = json.loads(json.dumps(subject(**arguments).get_config()))
    again = subject.optimizer.from_config(config).get_config()
    for argument, given in arguments.items():
        yield equal(f"config, {argument}", given, config[argument])
        yield equal(f"from_config(), {argument}", given, again[argument])


@check("9.3")
def rates_round_trip(subject: Subject) -> Comparisons:
    """Schedules and registered functions make a round trip; saving other functions is refused."""
    for name, rate, expected in (
        ("schedule", shrinking_schedule(), 0.5),
        ("registered function", registered_rate, 0.25),
    ):
        config = subject(learning_rate=rate).get_config()
        again = subject.optimizer.from_config(json.loads(json.dumps(config)))
        yield close(name, expected, value(again.learning_rate))
    model = compiled(subject(learning_rate=lambda: 0.5), WHOLE)
    with folder() as path:
        save = partial(model.save, path / "model.keras")
        yield refused("unregistered function, save()", save, "register")


# Pickle ----------------------------------------------------------------------------------------


@check("9.5")
def pickled(subject: Subject) -> Comparisons:
    """A pickled optimizer keeps its configuration; a pickled model continues unaffected."""
    optimizer = subject(learning_rate=0.1, momentum=0.5, gradient_accumulation_steps=3)
    again = pickle.loads(pickle.dumps(optimizer))
    yield equal("configuration", optimizer.get_config(), again.get_config())
    expected = reference_run(WHOLE, learning_rate=0.25, momentum=0.5)
    model = compiled(subject(learning_rate=0.25, momentum=0.5), WHOLE)
    fit(model, FIRST)
    model = pickle.loads(pickle.dumps(model))
    fit(model, SECOND)
    yield from _each_close("model", list(expected.final), values(model.trainable_variables))
