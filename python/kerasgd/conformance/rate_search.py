"""Checks of contract 17: finding a learning rate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import kerasgd
from kerasgd.conformance.checks import Comparison, Comparisons, check, close, equal, same_bits
from kerasgd.conformance.persistence import WHOLE
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import compiled, fit, fit_options, value, values

# The loss is (w - TARGET)^2, from w = 0. Its gradient is 2 (w - TARGET): a rate of 1/2 reaches the
# target in one step; with a rate above 1, each step moves further away.
TARGET = 3.0
BEST_RATE = 0.5
LARGEST_RATE = 1.0
LOWEST, STEPS = 1e-4, 60


def quadratic(optimizer: Any, **options: Any) -> Any:
    """A model of one weight, whose loss is a quadratic function of it."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer, loss="mse", **options)
    return model


def search(model: Any, highest_rate: float = BEST_RATE) -> Any:
    """The search on `quadratic()`."""
    x, y = np.ones((4, 1)), np.full((4, 1), TARGET)
    return kerasgd.tools.find_learning_rate(
        model, x, y, batch_size=1, steps=STEPS, lowest_rate=LOWEST, highest_rate=highest_rate
    )


def expected_rows() -> list[dict[str, float]]:
    """The rows of plain gradient descent with rates up to the best one."""
    rows: list[dict[str, float]] = []
    weight = average = 0.0
    for step, rate in enumerate(np.geomspace(LOWEST, BEST_RATE, STEPS)):
        loss = (weight - TARGET) ** 2
        average = 0.9 * average + 0.1 * loss
        smoothed = average / (1 - 0.9 ** (step + 1))
        row = {"step": step, "learning_rate": rate, "loss": loss, "smoothed_loss": smoothed}
        rows.append(row)
        weight -= rate * 2 * (weight - TARGET)
    return rows


@check("17.1")
def nothing_is_changed(subject: Subject) -> Comparisons:
    """A search in the middle of training affects neither its result nor later random draws."""
    for name, options in fit_options().items():
        outcomes = []
        for searches in (False, True):
            keras.utils.set_random_seed(1)
            keras.utils.clear_session(free_memory=False)
            model = compiled(subject(0.25, momentum=0.5), WHOLE, **options)
            fit(model, WHOLE)
            if searches:
                inputs = np.ones((4, model.input_shape[-1]))
                kerasgd.tools.find_learning_rate(model, inputs, np.zeros(4), batch_size=1, steps=10)
            draws = [np.random.normal(), value(keras.random.normal((1,)))[0]]
            fit(model, WHOLE)
            outcomes.append(
                [
                    *values([*model.trainable_variables, *model.optimizer.variables]),
                    np.array(draws),
                ]
            )
        for i, (expected, actual) in enumerate(zip(*outcomes, strict=True)):
            yield same_bits(f"{name}, value {i}", expected, actual)


@check("17.1")
def not_built_afterwards(subject: Subject) -> Comparisons:
    """The search does not build the optimizer, and does not change its rate."""
    model = quadratic(subject(0.25))
    optimizer = model.optimizer
    search(model)
    yield equal("the same optimizer", True, model.optimizer is optimizer)
    yield equal("built", False, optimizer.built)
    yield close("learning_rate", 0.25, value(optimizer.learning_rate))
    yield same_bits("weight", [[0.0]], value(model.trainable_variables[0]))


@check("17.2")
def rows_and_suggestion(subject: Subject) -> Comparisons:
    """The rows equal those of gradient descent; both suggestions are just below the best rate."""
    for name, options in fit_options().items():
        found = search(quadratic(subject(), **options))
        expected = expected_rows()
        yield equal(f"{name}, rows", len(expected), len(found.rows))
        for column in expected[0]:
            wanted, got = ([row[column] for row in rows] for rows in (expected, found.rows))
            yield close(f"{name}, {column}", wanted, got)
        for suggestion in ("steepest", "minimum"):
            rate = found.suggestion.get(suggestion, np.nan)
            between = f"between {BEST_RATE / 50:g} and {BEST_RATE:g}"
            holds = BEST_RATE / 50 <= rate <= BEST_RATE
            yield Comparison(f"{name}, {suggestion}", between, f"{rate:g}", holds)


@check("17.2")
def ends_where_the_loss_grows(subject: Subject) -> Comparisons:
    """The search ends at the first batch whose smoothed loss exceeds 4 times the minimum."""
    for name, options in fit_options().items():
        found = search(quadratic(subject(), **options), highest_rate=100 * LARGEST_RATE)
        smoothed = np.array([row["smoothed_loss"] for row in found.rows])
        above = smoothed > 4 * np.minimum.accumulate(smoothed)
        yield equal(f"{name}, batches above it", 1, int(np.sum(above)))
        yield equal(f"{name}, the last is", True, bool(above[-1]))
        yield equal(f"{name}, fewer batches than asked for", True, len(found.rows) < STEPS)


@check("17.3")
def no_rate_is_suggested(subject: Subject) -> Comparisons:
    """With a gradient of 0 no rate changes the loss, so none is suggested."""

    def loss(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.square(keras.ops.stop_gradient(y_pred) - y_true) + 0 * y_pred

    for name, options in fit_options().items():
        model = quadratic(subject(), **options)
        model.compile(model.optimizer, loss=loss, **options)
        model.set_weights([np.ones((1, 1))])
        found = kerasgd.tools.find_learning_rate(model, np.ones((4, 1)), np.zeros((4, 1)), steps=20)
        yield equal(f"{name}, rows", 20, len(found.rows))
        yield equal(f"{name}, suggestion", {}, found.suggestion)
