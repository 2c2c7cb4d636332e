"""Checks of contract 2: the learning rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
    only_on,
    refused,
    stopped,
    unexpected,
)
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    Rate,
    Recorder,
    Way,
    all_ways,
    compiled,
    fit,
    fit_options,
    follows_reference,
    scalar,
    synchronise,
    tensor,
    value,
    variables_of,
    ways_of_fit,
)
from kerasgd.reference import Schedule


class Halving:
    """A rate function, 1, 1/2, 1/4, ..., that counts its calls and records their threads."""

    def __init__(self) -> None:
        self.calls = 0
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> float:
        """The next rate."""
        self.threads.add(threading.current_thread())
        self.calls += 1
        return 0.5 ** (self.calls - 1)


HALVING = scalar(0.0, [1.0] * 4)
HALVED = [-1.0, -1.5, -1.75, -1.875]


def halving_schedule() -> Any:
    """The schedule 1, 1/2, 1/4, ..."""
    return keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=1, decay_rate=0.5)


HALVING_SCHEDULE = Rate(halving_schedule, lambda: Schedule(lambda t: 0.5**t))


def history(way: Way, optimizer: Any, problem: Problem) -> list[float]:
    """The weight after each step."""
    return [float(weights[0][0]) for weights in way.train(optimizer, problem).weights]


def ways_with_functions() -> list[Way]:
    """The ways of training that can call a rate function; a compiled JAX step cannot."""
    return [APPLY] if keras.config.backend() == "jax" else all_ways()


# Numbers and schedules -------------------------------------------------------------------------


@check("2.1")
def numbers_of_all_kinds(subject: Subject) -> Comparisons:
    """An integer or a NumPy scalar is accepted too."""
    one = keras.ops.ones(())
    for rate in (1, 1.0, np.float32(1), np.int64(1), np.float64(1), np.array(1.0), one):
        kind = f"{type(rate).__name__} 1"
        try:
            run = APPLY.train(subject(learning_rate=rate), scalar(0.0, [1.0]))
        except Exception as error:
            yield unexpected(kind, error)
            return
        yield close(kind, [-1.0], run.final[0])
    yield close("0", [0.0], APPLY.train(subject(learning_rate=0), scalar(0.0, [1.0])).final[0])
    for rate in (-0.1, np.nan, np.inf, None, "1", True, [0.1, 0.2]):
        yield refused(repr(rate), partial(subject, learning_rate=rate), "learning_rate")


@check("2.1")
def read_and_set(subject: Subject) -> Comparisons:
    """The attribute can be read and set at any time."""
    optimizer = subject(learning_rate=0.5)
    variables = variables_of(scalar(0.0, []))
    yield close("read", 0.5, value(optimizer.learning_rate))
    optimizer.apply([tensor([1.0])], variables)
    optimizer.learning_rate = 0.25
    optimizer.apply([tensor([1.0])], variables)
    yield close("read again", 0.25, value(optimizer.learning_rate))
    yield close("weight", [-0.75], value(variables[0]))


@check("2.2")
def schedules_count_steps(subject: Subject) -> Comparisons:
    """With accumulation a schedule still sees every step."""
    for steps in (None, 2):
        yield from follows_reference(
            subject,
            HALVING,
            learning_rate=HALVING_SCHEDULE,
            gradient_accumulation_steps=steps,
        )


# Functions -------------------------------------------------------------------------------------


@check("2.3", deviations=("D2",))
def never_frozen(subject: Subject) -> Comparisons:
    """The step uses the function's current value, not the one at compilation."""
    for way in ways_with_functions():
        yield close(way.name, HALVED, history(way, subject(learning_rate=Halving()), HALVING))
    if keras.config.backend() == "jax":
        [way] = ways_of_fit()
        train = partial(way.train, subject(learning_rate=Halving()), HALVING)
        yield stopped(way.name, train, naming="LearningRateFunction")


@check("2.3", deviations=("D2",))
def once_a_step(subject: Subject) -> Comparisons:
    """The function is called once per step, also with two variables and weight decay."""
    problem = Problem([[1.0], [1.0]], [[[1.0], [1.0]]] * 4)
    for way in ways_with_functions():
        rate = Halving()
        way.train(subject(learning_rate=rate, weight_decay=0.5), problem)
        yield equal(f"{way.name}, calls in 4 steps", 4, rate.calls)
        main_only = rate.threads == {threading.main_thread()}
        yield equal(f"{way.name}, only on the main thread", True, main_only)


@check("2.3")
def once_an_execution(subject: Subject) -> Comparisons:
    """With `steps_per_execution=2`, each pair of steps shares a rate."""
    only_on("tensorflow", "elsewhere there are no functions in executions of several steps")
    for name, options in fit_options().items():
        rate = Halving()
        model = compiled(subject(learning_rate=rate), HALVING, steps_per_execution=2, **options)
        fit(model, HALVING)
        yield equal(f"{name}, calls in 4 steps", 2, rate.calls)
        yield close(f"{name}, weight", [-3.0], value(model.trainable_variables[0]))


class RateReader(keras.callbacks.Callback):  # type: ignore[misc]
    """Reads the optimizer's rate after each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the rate."""
        synchronise(self.model)
        self.rates.append(float(value(self.model.optimizer.learning_rate)))


@check("2.3")
def reading_calls_nothing(subject: Subject) -> Comparisons:
    """Reading gives the value of the last step; only before the first step it calls."""
    rate = Halving()
    optimizer = subject(learning_rate=rate)
    variables = variables_of(scalar(0.0, []))
    for expected in (1.0, 0.5, 0.25):
        optimizer.apply([tensor([1.0])], variables)
        for _ in range(2):
            yield close("apply(), read after a step", expected, value(optimizer.learning_rate))
    yield equal("apply(), calls in 3 steps", 3, rate.calls)
    yield close("read before a step", 1.0, value(subject(learning_rate=Halving()).learning_rate))
    if keras.config.backend() == "jax":
        return
    for name, options in fit_options().items():
        rate, reader = Halving(), RateReader()
        fit(compiled(subject(learning_rate=rate), HALVING, **options), HALVING, [reader])
        yield close(f"{name}, read after each step", [1.0, 0.5, 0.25, 0.125], reader.rates)
        yield equal(f"{name}, calls in 4 steps", 4, rate.calls)


@check("2.3")
def skipped_steps_call_too(subject: Subject) -> Comparisons:
    """A step that a dynamic loss scale skips calls the function too."""
    rate = Halving()
    optimizer = subject.loss_scale_optimizer(subject(learning_rate=rate), initial_scale=1.0)
    APPLY.train(optimizer, scalar(0.0, [1.0, np.inf, 1.0]))
    yield equal("calls in 3 steps", 3, rate.calls)


@check("2.3")
def callback(subject: Subject) -> Comparisons:
    """The callback does the same on every backend."""
    for name, options in fit_options().items():
        recorder = Recorder()
        model = compiled(subject(learning_rate=1.0), HALVING, **options)
        rate = kerasgd.callbacks.LearningRateFunction(Halving())
        fit(model, HALVING, [rate, recorder])
        yield close(name, HALVED, [weights[0][0] for weights in recorder.weights])


@check("2.4")
def what_a_function_returns(subject: Subject) -> Comparisons:
    """Anything but one finite number >= 0 is refused when the function returns it."""
    for bad in (None, "a", np.nan, np.inf, -1.0, True, [0.1, 0.2], np.array([0.1])):
        optimizer = subject(learning_rate=lambda bad=bad: bad)
        step = partial(APPLY.train, optimizer, scalar(0.0, [1.0]))
        yield refused(f"apply(), returns {bad!r}", step, "learning_rate")
    for way in ways_with_functions()[1:]:
        train = partial(way.train, subject(learning_rate=lambda: np.nan), scalar(0.0, [1.0]))
        yield stopped(f"{way.name}, returns nan", train, naming="learning_rate")
    for good in (1, np.float32(1), np.array(1.0)):
        optimizer = subject(learning_rate=lambda good=good: good)
        run = APPLY.train(optimizer, scalar(0.0, [1.0]))
        yield close(f"apply(), returns {type(good).__name__} 1", [-1.0], run.final[0])


@check("2.5")
def functions_that_want_arguments(subject: Subject) -> Comparisons:
    """Such functions are refused at construction; arguments with defaults are accepted."""

    def of_step(step: int) -> float:
        return 0.1

    schedule = keras.optimizers.schedules.ExponentialDecay
    yield refused(
        "a function of the step", partial(subject, learning_rate=of_step), "learning_rate"
    )
    yield refused("a schedule class", partial(subject, learning_rate=schedule), "learning_rate")
    accepted: dict[str, Callable[..., float]] = {
        "a default": lambda rate=1.0: rate,
        "partial": partial(of_step, 1),
        "*args": lambda *args: 0.1,
    }
    for name, function in accepted.items():
        expected = 1.0 if name == "a default" else 0.1
        yield close(name, expected, value(subject(learning_rate=function).learning_rate))


# Configuration ------------------------------------------------------------------------------


@check("2.6")
def exact_configuration(subject: Subject) -> Comparisons:
    """The configuration has the exact rate, although a float32 variable stores it."""
    for rate in (0.1, 1 / 3, 0.01, 1e-7, 3):
        yield equal(
            f"{rate}", float(rate), subject(learning_rate=rate).get_config()["learning_rate"]
        )
    optimizer = subject(learning_rate=1.0)
    optimizer.learning_rate = 0.1
    yield equal("set to 0.1", 0.1, optimizer.get_config()["learning_rate"])


# Objects that are not rates --------------------------------------------------------------------


@check("2.8")
def not_a_rate(subject: Subject) -> Comparisons:
    """A variable would be copied silently, and layers and models are callable: all are refused."""
    layer = keras.layers.Dense(1)
    for name, given in (
        ("a variable", keras.Variable(0.5)),
        ("a layer", layer),
        ("a model", keras.Sequential([keras.Input((1,)), layer])),
    ):
        yield refused(name, partial(subject, learning_rate=given), "learning_rate")
        optimizer = subject(learning_rate=0.25)
        yield refused(f"{name}, set", partial(_set_rate, optimizer, given), "learning_rate")
        yield close(f"{name}, rate afterwards", 0.25, value(optimizer.learning_rate))


def _set_rate(optimizer: Any, rate: object) -> None:
    optimizer.learning_rate = rate


class Leaving(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule that gives 0.5 at the first step, and then an invalid rate."""

    def __init__(self, bad: float) -> None:
        self.bad = bad

    def __call__(self, step: Any) -> Any:
        """The rate of this step."""
        return keras.ops.where(keras.ops.cast(step, "int32") < 1, 0.5, self.bad)


@check("2.8")
def schedule_out_of_range(subject: Subject) -> Comparisons:
    """The step at which the schedule leaves the range changes nothing."""
    for bad in (-0.5, np.nan, np.inf):
        optimizer, variables = subject(learning_rate=Leaving(bad)), variables_of(scalar(0.0, []))
        step = partial(optimizer.apply, [tensor([1.0])], variables)
        step()
        yield refused(f"a schedule that gives {bad}", step, "learning_rate")
        yield close(f"weight, a schedule that gives {bad}", [-0.5], value(variables[0]))
        yield equal("steps", 1, int(value(optimizer.iterations)))
