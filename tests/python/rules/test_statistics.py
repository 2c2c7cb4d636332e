"""The formulas of the statistics, against closed forms (contract 15.2)."""

import math

import keras
import numpy as np
import pytest

from kerasgd.rules import statistics


def vector(*values):
    return keras.ops.convert_to_tensor(np.array(values, "float32"))


def number(value):
    return float(keras.ops.convert_to_numpy(value))


@pytest.mark.parametrize(
    ("norms", "joint"),
    [
        ([3, 4], 5),
        ([0, 0], 0),
        ([3e30, 4e30], 5e30),  # whose squares overflow
        ([3e-30, 4e-30], 5e-30),  # whose squares vanish
        ([3e200, 4e200], 5e200),  # in float64 too
        ([3e-200, 4e-200], 5e-200),
        ([], 0),
        ([1, math.inf], math.inf),
        ([1, math.nan], math.nan),
        ([math.inf, math.nan], math.nan),
    ],
)
def test_norms_are_joined(norms, joint):  # contract 15.2, 4.3
    assert statistics.joint_norm(np.array(norms)) == pytest.approx(joint, nan_ok=True)


@pytest.mark.parametrize(
    ("before", "after", "coefficient"),
    [
        (4, 1, 0.25),
        (4, 4, 1),
        (0, 0, 1),
        (1e-36, 5e-37, 0.5),
        (math.inf, math.nan, math.nan),
        (math.nan, math.nan, math.nan),
        (math.inf, 3, math.nan),  # `clipvalue` clips infinities
    ],
)
def test_the_clip_coefficient(before, after, coefficient):  # contract 15.2
    found = statistics.clip_coefficient(before, after)
    assert found == pytest.approx(coefficient, nan_ok=True)


@pytest.mark.parametrize(
    ("update", "weights", "ratio"),
    [(1, 4, 0.25), (1, 0, 0), (0, 0, 0), (math.nan, 1, math.nan), (1, math.nan, math.nan)],
)
def test_the_update_ratio(update, weights, ratio):  # contract 15.2
    assert statistics.update_ratio(update, weights) == pytest.approx(ratio, nan_ok=True)


def test_elements_that_are_not_finite_are_counted():  # contract 15.2, 16.2
    gradient = vector(1, math.nan, math.inf, -math.inf, 0)
    assert number(statistics.count_nonfinite(gradient)) == 3
    assert [number(n) for n in statistics.count_nan_and_infinite(gradient)] == [1, 2]


MEASURED = {
    "gradient_norm": np.array([3, 4]),
    "clipped_norm": np.array([0, 4]),
    "update_norm": np.array([1, 0]),
    "weight_norm": np.array([0, 2]),
    "nonfinite": np.array([1, 2]),
}


def test_the_fields_of_an_update():  # contract 15.2
    assert MEASURED.keys() == set(statistics.MEASURED)
    whole = {"learning_rate": 0.5, "loss_scale": 8.0}
    of_update = statistics.of_update(MEASURED, whole)
    assert list(of_update) == list(statistics.OF_UPDATE)
    assert of_update == {
        **whole,
        "gradient_norm": 5,
        "clip_coefficient": 0.8,
        "update_norm": 1,
        "weight_norm": 2,
        "update_ratio": 0.5,
        "nonfinite": 3,
    }


def test_the_fields_of_a_variable():  # contract 15.2
    of_second = statistics.of_variable({name: values[1] for name, values in MEASURED.items()})
    assert list(of_second) == list(statistics.OF_VARIABLE)
    assert of_second == {
        "gradient_norm": 4,
        "update_norm": 0,
        "weight_norm": 2,
        "update_ratio": 0,
        "nonfinite": 2,
    }
