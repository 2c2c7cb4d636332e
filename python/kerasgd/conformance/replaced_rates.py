"""Checks of contract 2.7: replacing the learning rate."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    only_of_kerasgd,
    only_on,
    refused,
    stopped,
)
from kerasgd.conformance.files import saved_and_loaded, state_of
from kerasgd.conformance.learning_rate import HALVED, HALVING, RateReader, halving_schedule
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Recorder,
    compiled,
    fit,
    fit_options,
    scalar,
    synchronise,
    tensor,
    value,
    values,
    variables_of,
)

ONE_STEP = scalar(0.0, [1.0])


def constant_schedule(rate: float) -> Any:
    """A schedule that is constant over a few steps."""
    return keras.optimizers.schedules.PiecewiseConstantDecay([100], [rate, 0.0])


@check("2.7")
def in_eager_code(subject: Subject) -> Comparisons:
    """Any kind of rate replaces any other at once."""
    optimizer = subject(learning_rate=1.0)
    variables = variables_of(scalar(0.0, []))
    for rate, moved in (
        (lambda: 2.0, 2.0),
        (3.0, 3.0),
        (constant_schedule(4.0), 4.0),
        (5.0, 5.0),
        (constant_schedule(6.0), 6.0),
        (lambda: 7.0, 7.0),
        (constant_schedule(8.0), 8.0),
    ):
        before = value(variables[0])
        optimizer.learning_rate = rate
        optimizer.apply([tensor([1.0])], variables)
        yield close(f"moved by {moved}", before - moved, value(variables[0]))
        yield close(f"read, {moved}", moved, value(optimizer.learning_rate))


class RateByBatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the optimizer's rate before each batch except the first, which compiles the step."""

    def __init__(self, rates: list[float]) -> None:
        super().__init__()
        self.rates = rates

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate."""
        if batch > 0:
            synchronise(self.model)
            self.model.optimizer.learning_rate = self.rates[batch]


@check("2.7")
def by_a_number_in_fit(subject: Subject) -> Comparisons:
    """A number acts at once, whatever it replaces; the rate that is read is the rate in use."""
    rates = [1.0, 0.5, 0.25, 0.125]
    replaced: dict[str, Any] = {"a number": 1.0, "a schedule": constant_schedule(1.0)}
    if keras.config.backend() != "jax":  # compiled JAX steps cannot call a function
        replaced["a function"] = lambda: 1.0
    for what, first in replaced.items():
        for name, options in fit_options().items():
            recorder, reader = Recorder(), RateReader()
            model = compiled(subject(learning_rate=first), HALVING, **options)
            fit(model, HALVING, [RateByBatch(rates), recorder, reader])
            where = f"{name}, over {what}"
            yield close(where, HALVED, [weights[0][0] for weights in recorder.weights])
            yield close(f"{where}, read", rates, reader.rates)
            config = model.optimizer.get_config()
            yield equal(f"{where}, configuration", 0.125, config["learning_rate"])


@check("2.7")
def by_callbacks_of_keras(subject: Subject) -> Comparisons:
    """`LearningRateScheduler` and `ReduceLROnPlateau` can override a schedule."""
    rates = [0.5, 0.25, 0.125]
    for name, options in fit_options().items():
        model = compiled(subject(learning_rate=constant_schedule(1.0)), ONE_STEP, **options)
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch])
        fit(model, ONE_STEP, [scheduler], epochs=3)
        yield close(f"{name}, scheduler, weight", [-0.875], values(model.trainable_variables)[0])
        history = model.history.history["learning_rate"]
        yield close(f"{name}, scheduler, history", rates, history)
        model = compiled(subject(learning_rate=constant_schedule(1.0)), ONE_STEP, **options)
        plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.25, patience=1, mode="max")
        # The callback watches for a maximum, so a falling loss is a plateau: two steps of 1, then
        # one of 1 / 4
        fit(model, ONE_STEP, [plateau], epochs=3)
        yield close(f"{name}, plateau, weight", [-2.25], values(model.trainable_variables)[0])


@check("2.7")
def after_compiling(subject: Subject) -> Comparisons:
    """A new schedule or function is refused if a compiled step would ignore it; PyTorch follows."""
    for name, options in fit_options().items():
        for what, rate in (("schedule", constant_schedule(0.5)), ("function", lambda: 0.5)):
            model = compiled(subject(learning_rate=1.0), ONE_STEP, **options)
            fit(model, ONE_STEP)
            replace = partial(setattr, model.optimizer, "learning_rate", rate)
            if keras.config.backend() == "torch":
                replace()
                fit(model, ONE_STEP)
                yield close(f"{name}, {what}", [-1.5], values(model.trainable_variables)[0])
                continue
            for way_out in ("update", "compile"):
                yield refused(f"{name}, {what}", replace, way_out)
            yield close(f"{name}, read afterwards", 1.0, value(model.optimizer.learning_rate))
            fit(model, ONE_STEP)
            yield close(f"{name}, next step", [-2.0], values(model.trainable_variables)[0])


@check("2.7")
def by_update(subject: Subject) -> Comparisons:
    """`update()` creates an optimizer with another rate, which continues from the state."""
    only_of_kerasgd(subject, "update")
    for name, options in fit_options().items():
        model = compiled(subject(learning_rate=1.0, momentum=0.5), ONE_STEP, **options)
        fit(model, ONE_STEP)
        updated = model.optimizer.update(learning_rate=constant_schedule(0.25), keep_state=True)
        model.compile(optimizer=updated, loss=model.loss, **options)
        fit(model, ONE_STEP)
        # The velocity of -1 is halved, and 1 / 4 is subtracted from it
        yield close(name, [-1.75], values(model.trainable_variables)[0])


@check("2.7")
def behind_the_trainers_back(subject: Subject) -> Comparisons:
    """In a JAX `fit()`, a rate that is not set through `self.model` would be lost."""
    only_on("jax", "only JAX's trainer takes the variables away")
    optimizer = subject(learning_rate=1.0)
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(optimizer, "learning_rate", 0.25)
    )
    train = partial(fit, compiled(optimizer, HALVING), HALVING, [callback])
    yield stopped("fit(), set by a closure", train, naming="self.model")


@check("2.7")
def in_files(subject: Subject) -> Comparisons:
    """A number that replaced a schedule is kept; otherwise the optimizer's own schedule wins."""
    replaced = subject(learning_rate=halving_schedule())
    replaced.learning_rate = 0.25
    saved = {
        "a number": subject(learning_rate=0.5),
        "a schedule": subject(learning_rate=constant_schedule(2.0)),
        "a number over a schedule": replaced,
    }
    for what, number, schedule in (
        ("a number", 0.5, 1.0),
        ("a schedule", 0.125, 1.0),
        ("a number over a schedule", 0.25, 0.25),
    ):
        for own, rate, expected in (
            ("a number", 0.125, number),
            ("a schedule", halving_schedule(), schedule),
        ):
            optimizer = subject(learning_rate=rate)
            optimizer.load_own_variables(state_of(saved[what]))
            yield close(f"{what} for {own}", expected, value(optimizer.learning_rate))
    model = compiled(replaced, ONE_STEP)
    fit(model, ONE_STEP)
    model = saved_and_loaded(model)
    fit(model, ONE_STEP)
    yield close(".keras file", [-0.5], values(model.trainable_variables)[0])
