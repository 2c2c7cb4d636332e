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
        ([1, math.inf], math.inf),
        ([1, math.nan], math.nan),
        ([math.inf, math.nan], math.nan),
    ],
)
def test_norms_are_joined(norms, joint):  # contract 15.2, 4.3
    assert number(statistics.joint_norms(vector(*norms)[None])[0]) == pytest.approx(
        joint, rel=1e-6, nan_ok=True
    )


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
    found = statistics.clip_coefficient(vector(before), vector(after))
    assert number(found[0]) == pytest.approx(coefficient, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("update", "weights", "ratio"),
    [(1, 4, 0.25), (1, 0, 0), (0, 0, 0), (math.nan, 1, math.nan), (1, math.nan, math.nan)],
)
def test_the_update_ratio(update, weights, ratio):  # contract 15.2
    found = statistics.update_ratio(vector(update), vector(weights))
    assert number(found[0]) == pytest.approx(ratio, rel=1e-6, nan_ok=True)


def test_elements_that_are_not_finite_are_counted():  # contract 15.2, 16.2
    gradient = vector(1, math.nan, math.inf, -math.inf, 0)
    assert number(statistics.count_nonfinite(gradient)) == 3
    assert [number(n) for n in statistics.count_nan_and_infinite(gradient)] == [1, 2]


def test_fields_are_those_that_are_kept():  # contract 15.2
    norms = statistics.Norms(vector(3, 4), vector(0, 4), vector(1, 0), vector(0, 2))
    of_update = statistics.of_update(norms, vector(1, 2))
    assert of_update.keys() | {"learning_rate", "loss_scale"} == set(statistics.OF_UPDATE)
    assert {name: number(value) for name, value in of_update.items()} == {
        "gradient_norm": 5,
        "clip_coefficient": pytest.approx(0.8),
        "update_norm": 1,
        "weight_norm": 2,
        "update_ratio": 0.5,
        "nonfinite": 3,
    }
    of_variables = statistics.of_variables(norms, vector(1, 2))
    assert of_variables.keys() == set(statistics.OF_VARIABLE)
    assert keras.ops.convert_to_numpy(of_variables["update_ratio"]).tolist() == [0, 0]
