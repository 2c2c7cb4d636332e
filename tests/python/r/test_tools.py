"""The training tools in the form for R."""

import keras
import numpy as np
import pytest

import kerasgd
from kerasgd.r import tools

X = np.ones((2, 1), "float32")


def compiled(optimizer):
    """y = w x, from w = 0."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(optimizer, loss="mse")
    return model


def test_the_progress_of_python_is_no_argument_in_r():  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError, match="progress"):
        tools.find_learning_rate(None, None, None, None, {"progress": True})


def test_a_search_comes_as_columns():  # contract 17.2
    model = compiled(kerasgd.SGD())
    found = tools.find_learning_rate(model, X, 3 * X, None, {"steps": 12, "highest_rate": 1e-6})
    assert list(found["rows"]) == ["step", "learning_rate", "loss", "smoothed_loss"]
    assert found["rows"]["step"] == list(range(12))
    assert found["rows"]["loss"][0] == 9
    assert isinstance(found["suggestion"], dict)


def test_progress_is_told_now_and_then_and_may_interrupt(monkeypatch):  # contract 17.2
    arguments = {"steps": 12, "highest_rate": 1e-6}

    def numbers_told(seconds, error=None):
        monkeypatch.setattr(tools, "SECONDS_BETWEEN_CALLS", seconds)
        told = []

        def progress(done, steps):
            told.append((done, steps))
            if error:
                raise error

        try:
            tools.find_learning_rate(compiled(kerasgd.SGD()), X, X, progress, arguments)
        except KeyboardInterrupt:
            told.append("interrupted")
        return told

    assert numbers_told(0) == [(done, 12) for done in range(1, 13)]
    assert numbers_told(1e6) == []
    assert numbers_told(0, RuntimeError(tools.INTERRUPT_OF_R)) == [(1, 12), "interrupted"]


def test_other_errors_stay_what_they_are(monkeypatch):
    def fail(done, steps):
        raise RuntimeError("no such thing")

    arguments = {"steps": 12, "highest_rate": 1e-6}
    monkeypatch.setattr(tools, "SECONDS_BETWEEN_CALLS", 0)
    with pytest.raises(RuntimeError, match="no such thing"):
        tools.find_learning_rate(compiled(kerasgd.SGD()), X, X, fail, arguments)


def test_a_step_comes_as_columns():  # contract 18.3
    model = compiled(kerasgd.SGD(0.5))
    found = tools.explain_step(model, X, 3 * X, None, True)
    assert found["rows"]["shape"] == [[1.0, 1.0]]
    assert found["rows"]["gradient_norm"] == [6.0]
    assert found["rows"]["change_norm"] == [3.0]
    assert found["rows"]["velocity_norm"] == [None]
    assert found["rows"]["holds"] == [True]
    assert (found["optimizer"], found["is_ours"], found["learning_rate"]) == ("SGD", True, 0.5)
    stock = tools.explain_step(compiled(keras.optimizers.SGD(0.5)), X, X, None, False)
    assert (stock["optimizer"], stock["is_ours"]) == ("keras.optimizers.SGD", False)


def window(number):
    return {"gradient_accumulation_steps": number}


OUTCOMES = {
    "update": (lambda: kerasgd.SGD(), 0, 1.0, (1, 1, "done")),
    "not finite": (lambda: kerasgd.SGD(), 0, np.nan, (1, 1, "done")),
    "skipped": (lambda: kerasgd.SGD().skip_nonfinite(), 0, np.nan, (1, 1, "skipped")),
    "begins a window": (lambda: kerasgd.SGD(**window(3)), 0, 1.0, (1, 3, "in_window")),
    "ends a window": (lambda: kerasgd.SGD(**window(3)), 2, 1.0, (3, 3, "done")),
    "Keras": (lambda: keras.optimizers.SGD(**window(3)), 1, 1.0, (2, 3, "in_window")),
    "loss scale": (lambda: kerasgd.LossScaleOptimizer(kerasgd.SGD()), 0, np.nan, (1, 1, "skipped")),
    "loss scale in a window": (
        lambda: kerasgd.LossScaleOptimizer(kerasgd.SGD(**window(3))),
        0,
        np.nan,
        (1, 3, "skipped"),
    ),
    "loss scale that begins a window": (
        lambda: kerasgd.LossScaleOptimizer(kerasgd.SGD(**window(3))),
        0,
        1.0,
        (1, 3, "in_window"),
    ),
}


@pytest.mark.parametrize(("optimizer", "steps", "y", "expected"), OUTCOMES.values(), ids=OUTCOMES)
def test_it_says_what_becomes_of_the_step(optimizer, steps, y, expected):  # contract 18.3
    model = compiled(optimizer())
    if steps:
        model.fit(X, X, batch_size=2, epochs=steps, verbose=0)
    found = tools.explain_step(model, X, y * X, None, False)
    assert (found["position"], found["window"], found["outcome"]) == expected
