"""Updates with non-finite gradients are skipped on request (contract 16.1, 4.5)."""

import keras
import numpy as np
import pytest
from watched import WAYS, assert_statistics, single, step_of, tensor

import kerasgd
from kerasgd.reference import ReferenceGroup, ReferenceSGD

BAD = {2: np.nan, 3: np.inf, 6: -np.inf}
CASES = {
    "plain": {},
    "momentum, clip": {"momentum": 0.9, "nesterov": True, "global_clipnorm": 1.0},
    "decay, scale": {"momentum": 0.5, "weight_decay": 0.1, "loss_scale_factor": 4.0},
    "average": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    "accumulation": {"momentum": 0.9, "gradient_accumulation_steps": 2, "clipnorm": 0.5},
    "average under accumulation": {
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
}


def steps(generator, count=12, bad=BAD):
    """The gradients of two variables for each step, some of them not finite."""
    for t in range(count):
        gradients = [single(generator.normal(size=shape)) for shape in ((3,), (2, 2))]
        if t in bad:
            gradients[t % 2].flat[1] = bad[t]
        yield gradients


def pair(arguments, every=None, **options):
    generator = np.random.default_rng(0)
    weights = [single(generator.normal(size=shape)) for shape in ((3,), (2, 2))]
    variables = [
        keras.Variable(w, dtype="float32", name=n) for w, n in zip(weights, "ab", strict=True)
    ]
    optimizer = kerasgd.SGD(0.1, **arguments).skip_nonfinite()
    if every:
        optimizer.track_statistics(per_variable=True, every=every)
    reference = ReferenceSGD(0.1, **arguments).build(
        weights, skip_nonfinite=True, statistics_every=every, **options
    )
    return variables, optimizer, reference


def assert_same(variables, optimizer, reference):
    for variable, expected in zip(variables, reference.weights, strict=True):
        actual = keras.ops.convert_to_numpy(variable)
        assert np.max(np.abs(actual - expected)) <= 2e-6 * np.max(np.abs(expected))
    counts = optimizer.skipped, optimizer.skipped_in_a_row
    assert counts == (reference.skipped, reference.skipped_in_a_row)
    assert int(optimizer._iterations) == reference.steps


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_skipped_updates_change_what_the_reference_says(case, way):  # contract 16.1, 5.2, 7
    variables, optimizer, reference = pair(CASES[case])
    step = step_of(way, optimizer, variables)
    for gradients in steps(np.random.default_rng(1)):
        step([tensor(g) for g in gradients])
        reference.step(gradients)
        assert_same(variables, optimizer, reference)
    assert 0 < reference.skipped < reference.updates


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("every", [1, 2])
def test_skipped_updates_are_measured_like_others(every, way):  # contract 15.1, 16.1
    arguments = {"momentum": 0.9, "gradient_accumulation_steps": 2, "clipvalue": 0.5}
    variables, optimizer, reference = pair(arguments, every)
    step = step_of(way, optimizer, variables)
    seen = []
    for gradients in steps(np.random.default_rng(1)):
        step([tensor(g) for g in gradients])
        reference.step(gradients)
        assert_statistics(optimizer.statistics, reference)
        seen.append(0 if optimizer.statistics is None else optimizer.statistics["nonfinite"])
    # The second update has two, the fourth has one.
    assert seen[1::2] == ([0, 2, 0, 1, 0, 0] if every == 1 else [0, 2, 2, 1, 1, 0])


@pytest.mark.parametrize("way", WAYS)
def test_a_skipped_update_leaves_nothing_in_the_window(way):  # contract 16.1, 7.4
    w = keras.Variable([1.0])
    optimizer = kerasgd.SGD(1.0, gradient_accumulation_steps=2).skip_nonfinite()
    step = step_of(way, optimizer, [w])
    for gradient in (np.nan, 1.0, 2.0, 4.0):
        step([tensor([gradient])])
    assert keras.ops.convert_to_numpy(w).tolist() == [1.0 - 3.0]
    assert (optimizer.skipped, optimizer.skipped_in_a_row) == (1, 0)


@pytest.mark.parametrize("way", WAYS)
def test_one_gradient_skips_all_variables(way):  # contract 16.1, 13.1, 14.3
    variables, optimizer, reference = pair(
        {"momentum": 0.5},
        groups=[ReferenceGroup({1}, learning_rate_factor=0)],
        overwrite_with_gradient={0},
    )
    optimizer.set_group("b", learning_rate_factor=0)
    variables[0].overwrite_with_gradient = True
    step = step_of(way, optimizer, variables)
    for gradients in steps(np.random.default_rng(1), bad={1: np.nan, 2: np.inf}):
        step([tensor(g) for g in gradients])
        reference.step(gradients)
        assert_same(variables, optimizer, reference)
    assert reference.skipped == 2  # one for the frozen variable, one for the other


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arguments", [{}, {"clipnorm": 1.0}, {"clipvalue": 1.0}])
def test_nothing_is_skipped_unless_it_is_wanted(arguments, way):  # contract 4.5, 16.1
    w = keras.Variable([1.0, 1.0])
    optimizer = kerasgd.SGD(0.5, **arguments)
    step_of(way, optimizer, [w])([tensor([np.nan, 1.0])])
    values = keras.ops.convert_to_numpy(w)
    assert np.isnan(values[0])
    assert np.isnan(values[1]) == ("clipnorm" in arguments)
    assert (optimizer.skipped, optimizer.skipped_in_a_row) == (0, 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_finite_gradient_whose_norm_overflows_is_not_skipped(way):  # contract 16.1, 4.3
    w = keras.Variable([1.0, 1.0])
    optimizer = kerasgd.SGD(1e-30).skip_nonfinite()
    step_of(way, optimizer, [w])([tensor([3e30, 1e30])])
    assert keras.ops.convert_to_numpy(w) == pytest.approx([-2, 0], abs=1e-6)
    assert optimizer.skipped == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_function_is_called_at_skipped_updates_too(way):  # contract 2.3, 16.1
    if way == "jit":
        pytest.skip("a compiled JAX step takes no function")
    calls = []
    w = keras.Variable([1.0])
    optimizer = kerasgd.SGD(lambda: calls.append(1) or 0.5).skip_nonfinite()
    step = step_of(way, optimizer, [w])
    for gradient in (1.0, np.nan, 1.0):
        step([tensor([gradient])])
    assert len(calls) == 3
    assert keras.ops.convert_to_numpy(w).tolist() == [0.0]


@pytest.mark.parametrize("way", WAYS)
def test_the_clip_of_a_skipped_update_is_told_where_its_norm_is_finite(way):  # contract 15.2, 16.1
    variables, optimizer, reference = pair({"clipnorm": 0.5}, 1, overwrite_with_gradient={1})
    variables[1].overwrite_with_gradient = True
    given = [single([3.0, 0.0, 4.0]), single([[np.nan, 1.0], [1.0, 1.0]])]
    step_of(way, optimizer, variables)([tensor(g) for g in given])
    reference.step(given)
    assert_statistics(optimizer.statistics, reference)
    assert optimizer.statistics["clip_coefficient"] == pytest.approx(0.1, rel=1e-6)
    assert optimizer.skipped == 1
