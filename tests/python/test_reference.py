"""The reference against closed forms worked out by hand.

The reference judges every other implementation, so nothing here compares it with itself: the
numbers come from the sentences of the contract, whose clause each test names.
"""

import doctest
import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import KEYWORD_ONLY, SIGNATURE
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasgd import reference
from kerasgd.reference import (
    ReferenceGroup,
    ReferenceLossScale,
    ReferenceSGD,
    Schedule,
    SparseRows,
)

# The same draws in every run, without a deadline.
settings.register_profile("reference", deadline=None, derandomize=True, database=None)
REFERENCE = settings.get_profile("reference")


def run(sgd, gradients):
    """Train one scalar variable; its value after each step."""
    return [float(sgd.step([g])[0]) for g in gradients]


def non_negative(w):
    return np.maximum(w, 0.0)


def test_doctests():
    result = doctest.testmod(reference)
    assert result.attempted > 15
    assert result.failed == 0


def test_stands_alone():
    code = f"""
import runpy, sys
namespace = runpy.run_path({reference.__file__!r})
print(float(namespace["ReferenceSGD"](0.5).build([1.0]).step([1.0])[0]))
print([name for name in ("keras", "kerasgd") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["0.5", "[]"]


def test_signature_is_the_documented_one():
    parameters = inspect.signature(ReferenceSGD).parameters
    assert {name: p.default for name, p in parameters.items()} == SIGNATURE
    keyword_only = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert keyword_only == KEYWORD_ONLY
    assert list(parameters)[-3:] == keyword_only


# contract 0 -------------------------------------------------------------------------------------


def test_0_order_of_one_step():
    sgd = ReferenceSGD(
        learning_rate=0.5,
        momentum=0.5,
        weight_decay=0.2,
        clipvalue=2.0,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
        loss_scale_factor=4.0,
        gradient_accumulation_steps=2,
    ).build([10.0], constraints=[lambda w: np.minimum(w, 7.5)])
    # Unscaled 2 and 4, mean 3, clipped 2; 10 decays to 9, moves by -1 to 8, is constrained to 7.5.
    assert run(sgd, [8.0, 16.0]) == [10.0, 7.5]
    assert sgd.averages[0] == 7.5
    # Unscaled 1 and 3, mean 2; 7.5 decays to 6.75, moves by -0.5 - 1 to 5.25; average overwrites.
    assert run(sgd, [4.0, 12.0]) == [7.5, 6.375]
    assert sgd.velocities[0] == -1.5
    assert (sgd.steps, sgd.updates, sgd.iterations) == (4, 2, 2)


def test_0_duplicate_rows_and_replicas_are_summed_before_the_clip():
    sgd = ReferenceSGD(1.0, clipvalue=5.0).build([[0.0, 0.0]])
    rows = SparseRows(values=[4.0, 4.0], indices=[0, 0])
    (w,) = sgd.step_replicas([[rows], [SparseRows(values=[3.0], indices=[1])]])
    assert w.tolist() == [-5.0, -3.0]


# contract 1 -------------------------------------------------------------------------------------


def test_1_1_plain():
    # loss w^2 / 2: w_t = (1 - learning_rate)^t
    sgd = ReferenceSGD(0.25).build([1.0])
    assert [float(sgd.step([sgd.weights[0]])[0]) for _ in range(3)] == [0.75, 0.5625, 0.421875]


def test_1_2_momentum():
    # velocity_k = -(1 - m^k) / (1 - m)
    assert run(ReferenceSGD(1.0, 0.5).build([0.0]), [1.0] * 4) == [-1.0, -2.5, -4.25, -6.125]
    third = run(ReferenceSGD(1.0, 1 / 3).build([0.0]), [1.0] * 3)
    assert third == pytest.approx([-1, -7 / 3, -34 / 9], rel=1e-15)


def test_1_2_velocity_remembers_the_rate_of_its_step():
    sgd = ReferenceSGD(Schedule(lambda t: 2.0**-t), 0.5).build([0.0])
    # velocities: -1, -0.5 - 0.5, -0.5 - 0.25
    assert run(sgd, [1.0] * 3) == [-1.0, -2.0, -2.75]


def test_1_3_nesterov():
    sgd = ReferenceSGD(1.0, 0.5, nesterov=True).build([0.0])
    # moves: 0.5 * -1 - 1, 0.5 * -1.5 - 1, 0.5 * -1.75 - 1
    assert run(sgd, [1.0] * 3) == [-1.5, -3.25, -5.125]
    assert sgd.velocities[0] == -1.75


def test_1_3_nesterov_without_momentum_is_plain():
    assert run(ReferenceSGD(0.5, 0.0, nesterov=True).build([0.0]), [1.0, -3.0]) == [-0.5, 1.0]


def test_1_5_momentum_of_any_size():
    assert run(ReferenceSGD(1, 2).build([0]), [1, 1, 1]) == [-1.0, -4.0, -11.0]


@pytest.mark.parametrize("n", [None, 3])
def test_1_6_all_none_is_an_error_and_changes_nothing(n):
    calls = []
    sgd = ReferenceSGD(lambda: calls.append(1) or 1.0, gradient_accumulation_steps=n)
    sgd.build([1.0, 2.0])
    with pytest.raises(ValueError, match="gradient"):
        sgd.step([None, None])
    with pytest.raises(ValueError, match="gradient"):
        sgd.step_replicas([[None, None], [None, None]])
    assert (sgd.steps, calls, sgd.weights) == (0, [], [1.0, 2.0])


def test_1_6_an_empty_list_is_no_step():
    calls = []
    sgd = ReferenceSGD(lambda: calls.append(1) or 1.0).build([3.0])
    assert sgd.step([]) == [3.0]
    assert (sgd.steps, calls) == (0, [])


def test_1_6_a_variable_without_gradient_is_left_alone():
    sgd = ReferenceSGD(1.0, 0.5, weight_decay=0.5)
    sgd.build([8.0, 0.0], constraints=[lambda w: w + 100, None])
    sgd.step([None, 1.0])
    assert sgd.weights == [8.0, -1.0]
    sgd.build([0.0, 0.0])
    sgd.weight_decay = None
    # The velocity neither moves the weight nor decays: it continues from -1 to -1.5.
    assert [float(sgd.step([g, 1.0])[0]) for g in (1.0, None, 1.0)] == [-1.0, -1.0, -2.5]


# contract 2 -------------------------------------------------------------------------------------


def test_2_1_the_rate_can_be_set_between_steps():
    sgd = ReferenceSGD(np.float32(0.5)).build([0.0])
    assert run(sgd, [1.0]) == [-0.5]
    sgd.learning_rate = 2
    assert run(sgd, [1.0]) == [-2.5]


def test_2_2_a_schedule_sees_every_step_also_under_accumulation():
    seen = []
    schedule = Schedule(lambda t: seen.append(t) or 0.5**t)
    sgd = ReferenceSGD(schedule, gradient_accumulation_steps=2).build([0.0])
    # Updates at t = 1 and t = 3 with the rates 1/2 and 1/8.
    assert run(sgd, [1.0] * 4) == [0.0, -0.5, -0.5, -0.625]
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [None, 2])
def test_2_3_a_function_is_called_once_a_step(n):
    calls = []
    sgd = ReferenceSGD(
        lambda: calls.append(1) or 1.0, weight_decay=0.1, gradient_accumulation_steps=n
    ).build([1.0, 2.0, 3.0])
    for step in range(1, 5):
        sgd.step([1.0, None, 1.0])
        assert len(calls) == step


def test_2_3_a_function_gives_the_rate_of_now():
    rates = iter([1.0, 0.5, 0.25, 0.125])
    sgd = ReferenceSGD(lambda: next(rates)).build([0.0])
    assert run(sgd, [1.0] * 4) == [-1.0, -1.5, -1.75, -1.875]


# contract 3 -------------------------------------------------------------------------------------


def test_3_1_decay_comes_before_the_rule():
    # Decay to 9, then -0.5; the other way round it would be 9.5 * 0.9 = 8.55.
    assert run(ReferenceSGD(0.5, weight_decay=0.2).build([10.0]), [1.0]) == [8.5]


def test_3_1_decay_uses_the_rate_of_its_step_and_leaves_the_velocity_alone():
    sgd = ReferenceSGD(Schedule(lambda t: 0.5**t), 0.5, weight_decay=0.5).build([16.0])
    assert run(sgd, [0.0] * 2) == [8.0, 6.0]
    assert sgd.velocities[0] == 0.0


def test_3_1_decay_acts_at_updates_only():
    sgd = ReferenceSGD(0.5, weight_decay=0.2, gradient_accumulation_steps=2).build([10.0])
    assert run(sgd, [1.0] * 2) == [10.0, 8.5]


def test_3_2_excluded_variables_do_not_decay():
    sgd = ReferenceSGD(0.5, weight_decay=0.2)
    sgd.build([10.0, 10.0], exclude_from_weight_decay={1})
    assert sgd.step([1.0, 1.0]) == [8.5, 9.5]


def test_3_4_all_variables_may_be_excluded():
    sgd = ReferenceSGD(0.5, weight_decay=0.2)
    sgd.build([10.0, 10.0], exclude_from_weight_decay={0, 1})
    assert sgd.step([1.0, 1.0]) == [9.5, 9.5]


# contract 4 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "first", "second"),
    [
        ({"clipnorm": 1.0}, [-0.6, -0.8], [-1.0, 0.0]),
        ({"clipvalue": 3.5}, [-3.0, -3.5], [-3.5, 0.0]),
        # The joint norm of (3, 4) and (12, 0) is 13.
        ({"global_clipnorm": 6.5}, [-1.5, -2.0], [-6.0, 0.0]),
    ],
)
def test_4_1_three_ways_to_clip(clip, first, second):
    sgd = ReferenceSGD(1.0, **clip).build([[0.0, 0.0], [0.0, 0.0], [5.0]])
    w = sgd.step([[3.0, 4.0], [12.0, 0.0], None])
    np.testing.assert_allclose(w[0], first, rtol=1e-15)
    np.testing.assert_allclose(w[1], second, rtol=1e-15)
    assert w[2] == 5.0


def test_4_1_negative_elements_are_clipped_too():
    assert run(ReferenceSGD(1.0, clipvalue=2.0).build([0.0]), [-3.0]) == [2.0]
    assert run(ReferenceSGD(1.0, clipnorm=2.0).build([0.0]), [-3.0]) == [2.0]


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_4_2_the_mean_over_the_window_is_clipped(clip):
    sgd = ReferenceSGD(1.0, **{clip: 2.0}, gradient_accumulation_steps=2).build([0.0])
    # Mean 1: nothing to clip. Clipped one by one, they would give (2 - 2) / 2.
    assert run(sgd, [5.0, -3.0]) == [0.0, -1.0]
    # Mean 4, clipped to 2.
    assert run(sgd, [1.0, 7.0]) == [-1.0, -3.0]


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_4_2_the_sum_over_replicas_is_clipped(clip):
    sgd = ReferenceSGD(1.0, **{clip: 1.0}).build([0.0])
    assert sgd.step_replicas([[0.75], [0.5]]) == [-1.0]
    assert sgd.step_replicas([[5.0], [-4.5]]) == [-1.5]


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_4_2_the_unscaled_gradient_is_clipped(clip):
    sgd = ReferenceSGD(1.0, **{clip: 1.0}, loss_scale_factor=8.0).build([0.0])
    assert run(sgd, [4.0, 32.0]) == [-0.5, -1.5]


def test_4_2_an_embedding_is_clipped_like_its_dense_twin():
    # Rows 0 and 1 sum to (3, 4); the norm of the three given rows would be sqrt(1 + 4 + 16).
    rows = SparseRows(values=[[1.0], [2.0], [4.0]], indices=[0, 0, 1])
    (w,) = ReferenceSGD(1.0, clipnorm=1.0).build([[[0.0], [0.0], [7.0]]]).step([rows])
    np.testing.assert_allclose(w, [[-0.6], [-0.8], [7.0]], rtol=1e-15)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("scale", [1e-307, 1e-200, 1e-30, 1e20, 1e200, 4e307])
def test_4_3_norms_neither_overflow_nor_underflow(clip, scale):
    limit = scale / 1e3
    gradient = np.array([3.0, 4.0]) * scale
    (w,) = ReferenceSGD(1.0, **{clip: limit}).build([[0.0, 0.0]]).step([gradient])
    np.testing.assert_allclose(w, [-0.6 * limit, -0.8 * limit], rtol=1e-14, atol=0)


def test_4_3_a_norm_beyond_float64_is_still_clipped():
    largest = np.finfo(np.float64).max
    (w,) = ReferenceSGD(1.0, clipnorm=1.0).build([np.zeros(4)]).step([np.full(4, largest)])
    assert w.tolist() == [-0.5] * 4


@pytest.mark.parametrize(
    ("clip", "gradient"),
    [
        ({"clipnorm": 5.0}, [3.0, 4.0]),
        ({"clipnorm": 1.0}, [0.6, 0.8]),
        ({"global_clipnorm": 1.0}, [0.6, 0.8]),
        ({"global_clipnorm": 1.0}, [1 / 3, 1e-200]),
        ({"clipvalue": 1 / 3}, [1 / 3, -1 / 3]),
        ({"clipnorm": 1.0}, [0.0, 0.0]),
    ],
)
def test_4_4_at_or_below_the_limit_nothing_is_rounded(clip, gradient):
    (w,) = ReferenceSGD(1.0, **clip).build([[0.0, 0.0]]).step([gradient])
    assert w.tolist() == [-g for g in gradient]


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_4_5_norm_clips_spread_what_is_not_finite(bad):
    gradients = [[bad, 1.0], [1.0], None]
    build = [[0.0, 0.0], [0.0], [0.0]]
    each = ReferenceSGD(1.0, clipnorm=10.0).build(build).step(gradients)
    assert np.isnan(each[0]).all()
    assert [each[1], each[2]] == [-1.0, 0.0]
    joint = ReferenceSGD(1.0, global_clipnorm=10.0).build(build).step(gradients)
    assert np.isnan(joint[0]).all()
    assert np.isnan(joint[1]).all()
    assert joint[2] == 0.0


def test_4_5_clipvalue_clips_infinity_and_keeps_nan():
    gradient = [np.inf, -np.inf, np.nan, 1.0]
    (w,) = ReferenceSGD(1.0, clipvalue=2.0).build([np.zeros(4)]).step([gradient])
    np.testing.assert_array_equal(w, [-2.0, 2.0, np.nan, -1.0])


def test_4_5_without_a_clip_infinity_reaches_the_weight():
    sgd = ReferenceSGD(1.0).build([[0.0, 0.0]])
    sgd.step([[np.inf, np.nan]])
    np.testing.assert_array_equal(sgd.step([[1.0, 1.0]])[0], [-np.inf, np.nan])


# contract 5 -------------------------------------------------------------------------------------


def test_5_1_average_of_updates_under_accumulation():
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=4)
    sgd.build([10.0])
    averages = []
    for _ in range(16):
        sgd.step([1.0])
        averages.append(sgd.averages[0])
    # Weights 9, 8, 7, 6 after the four updates.
    assert averages == [None] * 3 + [9.0] * 4 + [8.5] * 4 + [7.75] * 4 + [6.875]
    assert sgd.weights == [6.0]


@pytest.mark.parametrize(("m", "expected"), [(0.0, 7.0), (1.0, 9.0), (0.75, 8.3125)])
def test_5_1_weights_of_the_average(m, expected):
    # Weights 9, 8, 7: with 0.75 the average is 9, 8.75, 8.3125.
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=m).build([10.0])
    run(sgd, [1.0] * 3)
    assert sgd.averages == [expected]


def test_5_1_a_variable_without_gradient_is_averaged_all_the_same():
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5).build([10.0, 0.0])
    averages = []
    for g in (None, 2.0, None):
        sgd.step([g, 1.0])
        averages.append(float(sgd.averages[0]))
    # Weights 10, 8, 8.
    assert averages == [10.0, 9.0, 8.5]


def test_5_2_overwritten_at_every_second_update_only():
    sgd = ReferenceSGD(
        1.0,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
        gradient_accumulation_steps=2,
    ).build([10.0])
    # Update 2: 8 becomes 8.5; update 3: 7.5, average 8; update 4: 6.5, average 7.25.
    assert run(sgd, [1.0] * 8) == [10.0, 9.0, 9.0, 8.5, 8.5, 7.5, 7.5, 7.25]


def test_5_3_the_average_is_of_constrained_weights():
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5)
    sgd.build([2.0], constraints=[non_negative])
    assert run(sgd, [1.0, 5.0, 5.0]) == [1.0, 0.0, 0.0]
    assert sgd.averages == [0.25]


def test_5_4_finalize_writes_the_averages_asked_for():
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5).build([10.0, 20.0, 30.0])
    sgd.step([1.0] * 3)
    sgd.step([1.0] * 3)
    sgd.finalize_variable_values([2, 0])
    assert sgd.weights == [8.5, 18.0, 28.5]
    sgd.finalize_variable_values()
    assert sgd.weights == [8.5, 18.5, 28.5]


def test_5_4_finalize_before_the_first_update_changes_nothing():
    sgd = ReferenceSGD(1.0, use_ema=True, gradient_accumulation_steps=2)
    sgd.finalize_variable_values()
    sgd.finalize_variable_values([0])
    sgd.build([10.0]).step([1.0])
    sgd.finalize_variable_values()
    assert sgd.weights == [10.0]


def test_5_5_without_use_ema_its_arguments_have_no_effect():
    sgd = ReferenceSGD(1.0, ema_momentum=0.5, ema_overwrite_frequency=1).build([10.0])
    assert run(sgd, [1.0] * 2) == [9.0, 8.0]
    sgd.finalize_variable_values()
    assert sgd.weights == [8.0]


# contract 6 -------------------------------------------------------------------------------------


def test_6_1_the_step_divides_by_the_loss_scale():
    sgd = ReferenceSGD(1.0, loss_scale_factor=4.0).build([[0.0, 0.0], [0.0]])
    assert sgd.scale_loss(3.0) == 12.0
    w = sgd.step([SparseRows(values=[8.0, 4.0], indices=[1, 1]), [2.0]])
    assert [x.tolist() for x in w] == [[0.0, -3.0], [-0.5]]


def test_6_1_a_float16_gradient_is_unscaled_exactly():
    sgd = ReferenceSGD(1.0, loss_scale_factor=3.0).build([0.0])
    assert run(sgd, [np.float16(1.0)]) == [-1 / 3]


def test_6_3_a_non_finite_step_is_skipped_and_halves_the_scale():
    calls = []
    inner = ReferenceSGD(lambda: calls.append(1) or 1.0, 0.5, use_ema=True)
    scaler = ReferenceLossScale(inner.build([0.0, 0.0]), 8.0, 2000)
    assert scaler.scale_loss(2.0) == 16.0
    assert scaler.step([1.0, np.nan]) == [0.0, 0.0]
    assert scaler.step([SparseRows([np.inf], [0]), None]) == [0.0, 0.0]
    assert scaler.step_replicas([[1.0, 1.0], [-np.inf, 1.0]]) == [0.0, 0.0]
    assert scaler.scale == 1.0
    assert (inner.steps, inner.averages, inner.velocities) == (0, [None, None], [0.0, 0.0])
    assert len(calls) == 3  # contract 2.3
    assert scaler.step([2.0, 4.0]) == [-2.0, -4.0]


def test_6_3_only_finite_steps_in_a_row_double_the_scale():
    scaler = ReferenceLossScale(ReferenceSGD(1.0).build([0.0]), 8.0, dynamic_growth_steps=3)
    scales = []
    for g in (1.0, 1.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        scaler.step([g])
        scales.append(scaler.scale)
    assert scales == [8, 8, 4, 4, 4, 8, 8, 8, 16]


def test_6_3_the_scale_takes_the_place_of_the_inner_factor():
    scaler = ReferenceLossScale(ReferenceSGD(1.0, loss_scale_factor=64.0).build([0.0]), 4.0)
    assert scaler.step([8.0]) == [-2.0]


def test_6_3_what_is_no_step_does_not_count():
    scaler = ReferenceLossScale(ReferenceSGD(1.0).build([0.0]), 8.0, dynamic_growth_steps=1)
    scaler.step([])
    with pytest.raises(ValueError, match="gradient"):
        scaler.step([None])
    assert (scaler.scale, scaler.finite_steps, scaler.inner.steps) == (8.0, 0, 0)


# contract 7 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "gradient"),
    [({}, 1.0), ({"momentum": 0.5}, 1.0), ({"momentum": 0.5, "nesterov": True}, 1.0)],
)
def test_7_1_every_nth_step_applies_the_mean(arguments, gradient):
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=3, **arguments).build([0.0])
    moves = {(): [1, 1], ("momentum",): [1, 1.5], ("momentum", "nesterov"): [1.5, 1.75]}
    first, second = moves[tuple(arguments)]
    assert run(sgd, [0.0, 4.0, -1.0]) == [0.0, 0.0, -first]
    assert run(sgd, [gradient] * 3) == [-first, -first, -first - second]


@pytest.mark.parametrize("n", [None, 1])
def test_7_1_one_or_none_is_off(n):
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=n).build([0.0])
    assert run(sgd, [1.0, 2.0]) == [-1.0, -3.0]
    assert (sgd.iterations, sgd.updates) == (2, 2)


def test_7_2_iterations():
    sgd = ReferenceSGD(gradient_accumulation_steps=3).build([0.0])
    iterations = []
    for _ in range(7):
        sgd.step([1.0])
        iterations.append((sgd.iterations, sgd.updates))
    assert iterations == [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2)]


def test_7_3_constraints_act_at_updates_only():
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=2)
    sgd.build([-5.0], constraints=[non_negative])
    assert run(sgd, [1.0, 1.0]) == [-5.0, 0.0]


def test_7_4_none_counts_as_zero_and_nothing_is_carried_over():
    sgd = ReferenceSGD(1.0, 0.5, weight_decay=0.5, gradient_accumulation_steps=4)
    sgd.build([0.0, 8.0, 0.0])
    for g in (2.0, None, None, 6.0):
        sgd.step([g, None, 1.0])
    assert sgd.weights == [-2.0, 8.0, -1.0]
    assert sgd.has_gradient == [False, False, False]
    for g in (None, 4.0, None, None):
        sgd.step([g, None, 1.0])
    # Variable 0: decay to -1, velocity 0.5 * -2 - 4 / 4.
    assert sgd.weights[:2] == [-3.0, 8.0]


def test_7_4_flags_within_a_window():
    sgd = ReferenceSGD(gradient_accumulation_steps=3).build([0.0, 0.0])
    sgd.step([None, 2.0])
    assert sgd.has_gradient == [False, True]
    sgd.step([None, 3.0])
    assert sgd.accumulators == [None, 5.0]


# contract 8 -------------------------------------------------------------------------------------


def test_8_1_long_windows_of_narrow_gradients_are_exact():
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=512).build([np.float16(0.0)])
    assert run(sgd, [np.float16(1.0)] * 512)[-1] == -1.0


def test_8_2_everything_is_float64_and_never_changed_in_place():
    weights, gradient = np.zeros(2, np.float32), np.ones(2, np.float32)
    sgd = ReferenceSGD(1.0, 0.5, use_ema=True, ema_overwrite_frequency=1)
    sgd.build([weights])
    assert sgd.weights[0].dtype == np.float64
    (first,) = sgd.step([gradient])
    sgd.step([gradient])
    assert first.tolist() == [-1.0, -1.0]
    assert weights.tolist() == [0.0, 0.0]
    state = [sgd.weights[0], sgd.velocities[0], sgd.averages[0]]
    assert [x.dtype for x in state] == [np.float64] * 3


def test_8_2_a_gradient_buffer_may_be_used_again():
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=2)
    sgd.build([[0.0], [0.0]], overwrite_with_gradient={1})
    buffer = np.array([1.0])
    sgd.step([buffer, buffer])
    buffer[:] = -3.0
    (plain, overwritten) = sgd.step([buffer, buffer])
    buffer[:] = 9.0
    assert (plain.tolist(), overwritten.tolist()) == ([1.0], [1.0])


# contract 10, 11 --------------------------------------------------------------------------------


EVERYTHING = {
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.25,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "loss_scale_factor": 2.0,
    "gradient_accumulation_steps": 2,
}


def test_10_1_replicas_equal_one_device_on_the_whole_batch():
    one, two = (ReferenceSGD(0.5, **EVERYTHING).build([[1.0, 2.0], [4.0]]) for _ in range(2))
    for t in range(8):
        # Eighths, so that sums do not depend on their order.
        left, right = [[t / 8, 1.0], None], [[-0.5, t / 4], [1.0]]
        whole = [[t / 8 - 0.5, 1.0 + t / 4], [1.0]]
        for a, b in zip(one.step(whole), two.step_replicas([left, right]), strict=True):
            assert a.tolist() == b.tolist()


def test_11_1_sparse_equals_dense():
    rows = SparseRows(values=[[1.0, 2.0], [4.0, 0.0], [0.5, 8.0]], indices=[2, 0, 2])
    dense = [[4.0, 0.0], [0.0, 0.0], [1.5, 10.0]]
    a, b = (ReferenceSGD(0.5, **EVERYTHING).build([np.ones((3, 2))]) for _ in range(2))
    for _ in range(8):
        assert a.step([rows])[0].tolist() == b.step([dense])[0].tolist()
    # The untouched row decays too.
    assert (a.weights[0][1] < 1.0).all()


# contract 13 ------------------------------------------------------------------------------------


def test_13_1_overwrite_with_gradient_is_the_gradient_and_nothing_else():
    everything = EVERYTHING | {"gradient_accumulation_steps": None}
    sgd = ReferenceSGD(0.5, **everything)
    sgd.build([1.0, 1.0], constraints=[non_negative, non_negative], overwrite_with_gradient={1})
    for value in (5.0, -7.0, 100.0):
        assert sgd.step([1.0, value])[1] == value
    assert sgd.step([1.0, None])[1] == 100.0
    sgd.finalize_variable_values()
    assert sgd.weights[1] == 100.0
    assert (sgd.averages[1], sgd.velocities[1]) == (None, 0.0)


def test_13_1_overwrite_with_gradient_does_not_count_in_the_norm():
    sgd = ReferenceSGD(1.0, global_clipnorm=1.0)
    sgd.build([0.0, 0.0], overwrite_with_gradient={1})
    assert sgd.step([0.5, 1e6]) == [-0.5, 1e6]
    assert sgd.step([None, 2.0]) == [-0.5, 2.0]


def test_13_1_overwrite_with_gradient_takes_the_maximum_of_window_and_replicas():
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=2)
    sgd.build([0.0, [9.0, 9.0]], overwrite_with_gradient={1})
    sgd.step([1.0, [3.0, -4.0]])
    assert sgd.weights[1].tolist() == [9.0, 9.0]
    sgd.step_replicas([[1.0, [1.0, -2.0]], [0.0, [2.0, -8.0]]])
    assert sgd.weights[1].tolist() == [3.0, -2.0]


def test_13_1_overwrite_with_gradient_is_not_unscaled():
    inner = ReferenceSGD(1.0).build([0.0, 0.0], overwrite_with_gradient={1})
    assert ReferenceLossScale(inner, 4.0).step([8.0, 8.0]) == [-2.0, 8.0]


# contract 14 ------------------------------------------------------------------------------------


def bits(arrays):
    """The bits of the arrays, which distinguish -0 from 0, and one NaN from another."""
    return [None if a is None else np.asarray(a).tobytes() for a in arrays]


def rates_by_step(t):
    return 0.5 / (1 + t)


def grouped(*groups):
    """A variable for each dict of settings, in a group of its own."""
    return [ReferenceGroup({i}, **settings) for i, settings in enumerate(groups)]


def test_14_2_each_setting_acts_on_its_group_only():
    sgd = ReferenceSGD(0.5, 0.5, weight_decay=0.25)
    sgd.build(
        [8.0, 8.0, 8.0, 8.0],
        groups=[
            ReferenceGroup([1], learning_rate_factor=0.5),
            ReferenceGroup([2], momentum=0.0),
            ReferenceGroup([3], weight_decay=0.0),
        ],
    )
    # Decay by 1/8, 1/16, 1/8 and none; the rates are 1/2, 1/4, 1/2 and 1/2.
    assert sgd.step([2.0] * 4) == [6.0, 7.0, 6.0, 7.0]
    # Velocities 0.5 * -1 - 1, 0.5 * -0.5 - 0.5, none, 0.5 * -1 - 1.
    assert sgd.step([2.0] * 4) == [5.25 - 1.5, 6.5625 - 0.75, 5.25 - 1.0, 7.0 - 1.5]
    assert sgd.velocities == [-1.5, -0.75, 0.0, -1.5]


def test_14_2_a_group_can_set_what_the_optimizer_does_without():
    sgd = ReferenceSGD(0.5, nesterov=True)
    sgd.build([8.0, 8.0], groups=[ReferenceGroup({1}, momentum=0.5, weight_decay=0.25)])
    # Variable 1 decays to 7; its velocity is -1, its move 0.5 * -1 - 1.
    assert sgd.step([2.0, 2.0]) == [7.0, 5.5]


@pytest.mark.parametrize("zero", [0.0, 0])
def test_14_2_a_weight_decay_of_0_is_none(zero):
    sgd = ReferenceSGD(0.5, weight_decay=0.25)
    sgd.build([-0.0, np.inf], groups=[ReferenceGroup({0, 1}, weight_decay=zero)])
    assert bits(sgd.step([0.0, 1.0])) == bits([-0.0, np.inf])


@pytest.mark.parametrize(("n", "seen"), [(None, [0, 1, 2, 3]), (2, [1, 3])])
def test_14_2_a_factor_that_is_a_schedule_sees_t(n, seen):
    calls = []
    factor = Schedule(lambda t: calls.append(t) or 0.5**t)
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=n)
    sgd.build([0.0, 0.0, 0.0], groups=[ReferenceGroup({0, 1}, learning_rate_factor=factor)])
    for _ in range(4):
        sgd.step([1.0] * 3)
    assert calls == seen
    slow = -sum(0.5**t for t in seen)
    assert sgd.weights == [slow, slow, -len(seen)]


def test_14_3_factors_and_settings_of_float32_are_not_rounded_again():
    third = np.float32(1 / 3)
    sgd = ReferenceSGD(0.1)
    sgd.build([1.0, 0.0], groups=grouped({"weight_decay": third}, {"learning_rate_factor": third}))
    decayed, moved = sgd.step([0.0, 1.0])
    assert decayed == 1 - 0.1 * float(third)
    assert moved == -(0.1 * float(third))
    assert run(ReferenceSGD(0.1, weight_decay=third).build([1.0]), [0.0]) == [decayed]


def test_14_3_whatever_changes_the_rate_changes_all_groups_alike():
    rates = iter([1.0, 0.5])
    half = [ReferenceGroup({1}, learning_rate_factor=0.5)]
    sgd = ReferenceSGD(lambda: next(rates)).build([0.0, 0.0], groups=half)
    assert sgd.step([1.0, 1.0]) == [-1.0, -0.5]
    assert sgd.step([1.0, 1.0]) == [-1.5, -0.75]
    sgd.learning_rate = Schedule(lambda t: 2.0**t)
    assert sgd.step([1.0, 1.0]) == [-5.5, -2.75]
    sgd.learning_rate = 2.0
    assert sgd.step([1.0, 1.0]) == [-7.5, -3.75]


settings_of_a_group = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate_factor": st.sampled_from([0.1, 1.0, 3.0, Schedule(lambda t: 1 / (1 + t))]),
        "momentum": st.sampled_from([0.0, 0.3, 0.9]),
        "weight_decay": st.sampled_from([0.0, 0.01, 0.4]),
    },
)
arguments_without_a_shared_clip = st.fixed_dictionaries(
    {
        "momentum": st.sampled_from([0.0, 0.7]),
        "nesterov": st.booleans(),
        "weight_decay": st.sampled_from([None, 0.2]),
        "use_ema": st.booleans(),
        "ema_overwrite_frequency": st.sampled_from([None, 2]),
        "loss_scale_factor": st.sampled_from([None, 3.0]),
        "gradient_accumulation_steps": st.sampled_from([None, 3]),
    },
    optional={"clipnorm": st.just(0.5)},
)


def times(rate, factor):
    """`rate * factor`, where either may be a schedule."""
    if isinstance(rate, Schedule) or isinstance(factor, Schedule):
        r, f = (x.function if isinstance(x, Schedule) else lambda t, x=x: x for x in (rate, factor))
        return Schedule(lambda t: r(t) * f(t))
    return rate * factor


@settings(REFERENCE, max_examples=60)
@given(
    arguments_without_a_shared_clip,
    st.sampled_from([0.1, Schedule(rates_by_step)]),
    st.lists(settings_of_a_group, min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_14_3_a_group_equals_an_optimizer_of_its_own(arguments, rate, groups, seed):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(len(groups), 2))
    together = ReferenceSGD(rate, **arguments).build(weights, groups=grouped(*groups))
    alone = [
        ReferenceSGD(
            times(rate, group.get("learning_rate_factor", 1.0)),
            **arguments | {name: group[name] for name in group if name != "learning_rate_factor"},
        ).build([w])
        for group, w in zip(groups, weights, strict=True)
    ]
    for _ in range(7):
        gradients = random.normal(size=weights.shape)
        got = together.step(gradients)
        expected = [sgd.step([g])[0] for sgd, g in zip(alone, gradients, strict=True)]
        assert bits(got) == bits(expected)
    assert bits(together.velocities) == bits([sgd.velocities[0] for sgd in alone])
    assert bits(together.averages) == bits([sgd.averages[0] for sgd in alone])


FROZEN = [0.0, Schedule(lambda t: 0.0)]


@pytest.mark.parametrize("factor", FROZEN)
@pytest.mark.parametrize("clip", [{}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}])
def test_14_3_a_factor_of_0_leaves_the_variable_alone_bit_for_bit(factor, clip):
    arguments = {"weight_decay": 0.25, "use_ema": True, "ema_overwrite_frequency": 2} | clip
    frozen = np.array([0.1, -0.0, np.nan, np.inf, 5e-324])
    both = []
    for groups in ([ReferenceGroup({0}, learning_rate_factor=factor)], []):
        sgd = ReferenceSGD(0.5, 0.5, True, **arguments)
        sgd.build([frozen, [1.0, 2.0]], constraints=[np.abs, None], groups=groups)
        sgd.velocities[0] = frozen
        both.append(sgd)
    for t in range(5):
        gradients = [np.full(5, 3.0), [t, 1.0 - t]]
        (w, other), (_, expected) = (sgd.step(gradients) for sgd in both)
        # Freezing does not affect the other variable, because the clip is the same (14.5).
        assert other.tolist() == expected.tolist()
        assert bits([w, both[0].velocities[0]]) == bits([frozen, frozen])
    both[0].finalize_variable_values()
    assert bits(both[0].weights[:1]) == bits([frozen])
    both[0].finalize_variable_values([0])
    assert bits(both[0].weights[:1]) == bits([frozen])


def test_14_3_velocity_waits_while_the_factor_is_0():
    factor = Schedule(lambda t: [1.0, 0.0, 0.0, 0.5][t])
    sgd = ReferenceSGD(1.0, 0.5)
    sgd.build([0.0], groups=[ReferenceGroup({0}, learning_rate_factor=factor)])
    # Velocities -1 and, after the pause, 0.5 * -1 - 0.5.
    assert run(sgd, [1.0, 8.0, 8.0, 1.0]) == [-1.0, -1.0, -1.0, -2.0]


def test_14_3_a_rate_of_0_is_no_factor_of_0():
    sgd = ReferenceSGD(1.0, 0.5).build([0.0], constraints=[lambda w: np.maximum(w, -1.25)])
    assert run(sgd, [1.0]) == [-1.0]
    sgd.learning_rate = 0.0
    assert run(sgd, [1.0]) == [-1.25]
    assert sgd.velocities == [-0.5]


def test_14_3_a_frozen_variable_is_averaged_as_one_without_gradient():
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5)
    sgd.build([10.0], groups=[ReferenceGroup({0}, learning_rate_factor=1.0)])
    run(sgd, [2.0, 2.0])
    sgd.set_learning_rate_factor(0, 0.0)
    assert run(sgd, [2.0]) == [6.0]
    # The weights were 8, 6, 6.
    assert sgd.averages == [6.5]


def test_14_3_a_frozen_variable_is_not_overwritten_with_its_average():
    factor = Schedule(lambda t: float(t < 2))
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=4)
    sgd.build([10.0, 10.0], groups=[ReferenceGroup({0}, learning_rate_factor=factor)])
    for _ in range(4):
        sgd.step([1.0, 1.0])
    assert sgd.averages == [8.125, 6.875]
    assert sgd.weights == [8.0, 6.875]


def test_14_3_finalizing_asks_for_a_schedule_at_the_last_update():
    # The last update is at t = 3, the step at t = 4 opens a window.
    for frozen_at, expected in [(3, 9.0), (4, 8.5), (5, 8.5)]:
        factor = Schedule(lambda t, frozen_at=frozen_at: float(t != frozen_at))
        sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2)
        sgd.build([10.0], groups=[ReferenceGroup({0}, learning_rate_factor=factor)])
        run(sgd, [1.0] * 5)
        sgd.finalize_variable_values()
        assert sgd.weights == [expected]


def test_14_3_finalizing_takes_a_number_as_it_is_now():
    sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5)
    sgd.build([10.0], groups=[ReferenceGroup({0}, momentum=0.0)])
    run(sgd, [1.0, 1.0])
    sgd.set_learning_rate_factor(0, 0.0)
    sgd.finalize_variable_values()
    assert sgd.weights == [8.0]
    sgd.set_learning_rate_factor(0, 1.0)
    sgd.finalize_variable_values()
    assert sgd.weights == [8.5]


def test_14_3_a_frozen_variable_is_not_overwritten_with_its_gradient_either():
    sgd = ReferenceSGD(1.0)
    groups = [ReferenceGroup({0}, learning_rate_factor=0.0), ReferenceGroup({1}, 0.5)]
    sgd.build([3.0, 3.0], overwrite_with_gradient={0, 1}, groups=groups)
    assert sgd.step([8.0, 8.0]) == [3.0, 8.0]


def test_14_4_each_setting_comes_from_the_last_group_that_names_it():
    sgd = ReferenceSGD(1.0, 0.5, weight_decay=0.5)
    sgd.build(
        [8.0, 8.0, 8.0],
        groups=[
            ReferenceGroup({0, 1, 2}, learning_rate_factor=0.5, weight_decay=0.25),
            ReferenceGroup({1}, momentum=0.0),
            ReferenceGroup({1, 2}, learning_rate_factor=0.25),
            ReferenceGroup({2}, weight_decay=0.0),
        ],
    )
    # Rates 1/2, 1/4, 1/4 and decays 1/4, 1/4, 0.
    assert sgd.step([4.0] * 3) == [7.0 - 2.0, 7.5 - 1.0, 8.0 - 1.0]
    assert sgd.velocities == [-2.0, 0.0, -1.0]


def test_14_4_an_exclusion_from_decay_wins_over_groups():
    sgd = ReferenceSGD(1.0)
    groups = [ReferenceGroup({0, 1}, weight_decay=0.5)]
    sgd.build([8.0, 8.0], exclude_from_weight_decay={1}, groups=groups)
    assert sgd.step([0.0, 0.0]) == [4.0, 8.0]


def test_14_5_a_clip_is_of_all_groups_and_before_them():
    groups = grouped({"learning_rate_factor": 0.5}, {"learning_rate_factor": 2.0}, {"momentum": 0})
    sgd = ReferenceSGD(1.0, global_clipnorm=3.5).build([0.0, 0.0, 0.0], groups=groups)
    # The norm of (2, 3, 6) is 7: half of each is left.
    assert sgd.step([2.0, 3.0, 6.0]) == [-0.5, -3.0, -3.0]


def test_14_7_a_factor_can_be_changed_between_steps():
    sgd = ReferenceSGD(1.0)
    sgd.build([0.0, 0.0], groups=grouped({"learning_rate_factor": 0.0}, {"momentum": 0.5}))
    assert sgd.step([1.0, 1.0]) == [0.0, -1.0]
    sgd.set_learning_rate_factor(0, 0.5)
    assert sgd.step([1.0, 1.0]) == [-0.5, -2.5]
    # A group that set no factor before keeps its other settings: the velocity is -1.75 - 0.125.
    sgd.set_learning_rate_factor(1, Schedule(lambda t: 0.5 ** (t + 1)))
    assert sgd.step([1.0, 1.0]) == [-1.0, -2.5 - 0.75 - 0.125]


def test_14_building_anew_forgets_groups_counts_and_statistics():
    groups = [ReferenceGroup({0}, learning_rate_factor=0.0)]
    sgd = ReferenceSGD(1.0).build([0.0], groups=groups, statistics_every=1, skip_nonfinite=True)
    run(sgd, [np.nan])
    sgd.build([0.0])
    assert (sgd.skipped, sgd.skipped_in_a_row) == (0, 0)
    assert run(sgd, [1.0]) == [-1.0]
    assert (sgd.statistics, sgd.statistics_per_variable) == ({}, [])


# contract 15 ------------------------------------------------------------------------------------

FIELDS = {
    "learning_rate",
    "gradient_norm",
    "clip_coefficient",
    "update_norm",
    "weight_norm",
    "update_ratio",
    "nonfinite",
    "loss_scale",
    "updates",
}
FIELDS_PER_VARIABLE = {"gradient_norm", "update_norm", "weight_norm", "update_ratio", "nonfinite"}


def test_15_1_nothing_is_measured_unasked():
    sgd = ReferenceSGD(1.0).build([0.0])
    run(sgd, [1.0])
    assert (sgd.statistics, sgd.statistics_per_variable) == ({}, [])


def test_15_2_by_hand():
    sgd = ReferenceSGD(
        0.5,
        weight_decay=0.5,
        global_clipnorm=2.5,
        loss_scale_factor=2.0,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=1,
    )
    sgd.build([[8.0, 0.0], [0.0], [6.0]], constraints=[None, np.abs, None], statistics_every=1)
    sgd.step([[6.0, 0.0], [8.0], None])
    # Gradients 3 and 4, clipped 1.5 and 2. 8 decays to 6, moves to 5.25; 0 moves to -1, is made 1.
    assert sgd.statistics == {
        "learning_rate": 0.5,
        "gradient_norm": 5.0,
        "clip_coefficient": 0.5,
        "update_norm": math.hypot(2.75, 1.0),
        "weight_norm": 10.0,
        "update_ratio": math.hypot(2.75, 1.0) / 10,
        "nonfinite": 0,
        "loss_scale": 2.0,
        "updates": 1,
    }
    first, second, third = sgd.statistics_per_variable
    assert first == {
        "gradient_norm": 3.0,
        "update_norm": 2.75,
        "weight_norm": 8.0,
        "update_ratio": 2.75 / 8,
        "nonfinite": 0,
    }
    assert second == {
        "gradient_norm": 4.0,
        "update_norm": 1.0,
        "weight_norm": 0.0,
        "update_ratio": 0.0,
        "nonfinite": 0,
    }
    assert (third["gradient_norm"], third["update_norm"], third["weight_norm"]) == (0.0, 0.0, 6.0)
    # The second update starts at the averages 5.25, 1 and 6; overwriting is no measured change.
    sgd.step([[0.0, 0.0], [0.0], None])
    assert sgd.statistics["weight_norm"] == pytest.approx(math.hypot(5.25, 1.0, 6.0), rel=1e-15)
    assert sgd.statistics["update_norm"] == pytest.approx(math.hypot(5.25, 1.0) / 4, rel=1e-15)
    assert sgd.weights[0][0] == 5.25 * 0.875


statistics_cases = st.fixed_dictionaries(
    {
        "momentum": st.sampled_from([0.0, 0.7]),
        "nesterov": st.booleans(),
        "weight_decay": st.sampled_from([None, 0.2]),
        "loss_scale_factor": st.sampled_from([None, 3.0]),
        "gradient_accumulation_steps": st.sampled_from([None, 3]),
    }
)
clips = st.sampled_from([{}, {"clipnorm": 1.5}, {"clipvalue": 0.5}, {"global_clipnorm": 2.0}])


def expected_coefficient(gradients, clipnorm=None, clipvalue=None, global_clipnorm=None):
    """The share of the norm that a clip leaves, from the definition of each clip."""
    norms = [np.linalg.norm(g) for g in gradients]
    joint = math.hypot(*norms)
    if clipnorm is not None:
        return math.hypot(*(min(norm, clipnorm) for norm in norms)) / joint
    if clipvalue is not None:
        elements = np.concatenate([np.ravel(g) for g in gradients])
        return math.sqrt(sum(min(abs(x), clipvalue) ** 2 for x in elements)) / joint
    return 1.0 if global_clipnorm is None else min(1.0, global_clipnorm / joint)


@settings(REFERENCE, max_examples=80)
@given(statistics_cases, clips, settings_of_a_group, st.integers(0, 2**32 - 1))
def test_15_2_every_statistic_from_another_formula(arguments, clip, group, seed):
    random = np.random.default_rng(seed)
    shapes = [(3,), (2, 2), ()]
    n, scale = (
        arguments[name] or 1 for name in ("gradient_accumulation_steps", "loss_scale_factor")
    )
    sgd = ReferenceSGD(Schedule(rates_by_step), **arguments, **clip).build(
        [random.normal(size=shape) for shape in shapes],
        constraints=[None, lambda w: np.minimum(w, 0.3), None],
        groups=[ReferenceGroup({0, 2}, **group)],
        statistics_every=1,
    )
    for update in range(1, 4):
        before = sgd.weights.copy()
        window = [[random.normal(size=s) for s in shapes] for _ in range(n)]
        for gradients in window:
            sgd.step_replicas(
                [[g * scale / 4 for g in gradients], [0.75 * scale * g for g in gradients]]
            )
        means = [np.mean(np.stack(gradients), axis=0) for gradients in zip(*window, strict=True)]
        changes = [w - b for w, b in zip(sgd.weights, before, strict=True)]
        norms = {
            name: [float(np.linalg.norm(x)) for x in values]
            for name, values in [("gradient", means), ("update", changes), ("weight", before)]
        }
        joint = {name: math.hypot(*values) for name, values in norms.items()}
        assert sgd.statistics.keys() == FIELDS
        assert sgd.statistics == pytest.approx(
            {
                "learning_rate": rates_by_step(update * n - 1),
                "gradient_norm": joint["gradient"],
                "clip_coefficient": expected_coefficient(means, **clip),
                "update_norm": joint["update"],
                "weight_norm": joint["weight"],
                "update_ratio": joint["update"] / joint["weight"],
                "nonfinite": 0,
                "loss_scale": scale,
                "updates": update,
            },
            rel=1e-12,
        )
        for i, statistics in enumerate(sgd.statistics_per_variable):
            assert statistics.keys() == FIELDS_PER_VARIABLE
            for name, values in norms.items():
                assert statistics[f"{name}_norm"] == pytest.approx(values[i], rel=1e-12)
            ratio = norms["update"][i] / norms["weight"][i]
            assert statistics["update_ratio"] == pytest.approx(ratio, rel=1e-12)


def test_15_2_measuring_changes_nothing():
    plain, measured = (ReferenceSGD(0.5, **EVERYTHING) for _ in range(2))
    plain.build([[1.0, 2.0], [4.0]])
    measured.build([[1.0, 2.0], [4.0]], statistics_every=1)
    for t in range(8):
        gradients = [[t / 8, 1.0], [2.0]]
        assert bits(plain.step(gradients)) == bits(measured.step(gradients))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_15_1_every_so_many_updates(every):
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=2).build([0.0], statistics_every=every)
    measured = []
    for _ in range(13):
        run(sgd, [1.0])
        measured.append(sgd.statistics.get("updates", 0))
    assert measured == [(t // 2) // every * every for t in range(1, 14)]


def test_15_1_skipped_updates_count_in_every():
    sgd = ReferenceSGD(1.0).build([8.0], statistics_every=2, skip_nonfinite=True)
    measured = []
    for g in (1.0, np.nan, 2.0, 4.0, np.inf, np.inf):
        run(sgd, [g])
        measured.append((sgd.statistics.get("updates"), sgd.statistics.get("nonfinite")))
    # The second, fourth and sixth are measured, two of them skipped: k is 1, 3 and 3.
    assert measured == [(None, None), (1, 1), (1, 1), (3, 0), (3, 0), (3, 1)]


def test_15_2_the_gradient_is_summed_over_duplicate_rows():
    sgd = ReferenceSGD(1.0).build([[[0.0], [0.0]]], statistics_every=1)
    sgd.step([SparseRows(values=[[1.0], [2.0], [4.0]], indices=[0, 0, 1])])
    assert sgd.statistics["gradient_norm"] == 5.0


def test_15_2_norms_of_0():
    sgd = ReferenceSGD(1.0, global_clipnorm=1.0).build([0.0], statistics_every=1)
    run(sgd, [0.0])
    statistics = sgd.statistics
    assert (statistics["clip_coefficient"], statistics["update_ratio"]) == (1.0, 0.0)
    # The ratio to a weight of 0 is 0, although the weight moves.
    run(sgd, [0.5])
    assert (sgd.statistics["update_norm"], sgd.statistics["update_ratio"]) == (0.5, 0.0)


@pytest.mark.parametrize("scale", [1e-300, 1e200])
def test_15_2_norms_neither_overflow_nor_underflow(scale):
    sgd = ReferenceSGD(1.0, global_clipnorm=2.5 * scale)
    sgd.build([[3 * scale], [4 * scale]], statistics_every=1)
    sgd.step([[4 * scale], [3 * scale]])
    statistics = [sgd.statistics[f"{name}_norm"] / scale for name in ("gradient", "weight")]
    assert statistics == pytest.approx([5.0, 5.0], rel=1e-14)
    assert sgd.statistics["clip_coefficient"] == pytest.approx(0.5, rel=1e-14)
    assert sgd.statistics["update_ratio"] == pytest.approx(0.5, rel=1e-14)


def test_15_2_at_or_below_the_limit_the_coefficient_is_1():
    for clip in ({"clipnorm": 1.0}, {"clipvalue": 0.8}, {"global_clipnorm": 1.0}, {}):
        sgd = ReferenceSGD(1.0, **clip).build([[0.0, 0.0]], statistics_every=1)
        sgd.step([[0.6, 0.8]])
        assert sgd.statistics["clip_coefficient"] == 1.0


@pytest.mark.parametrize(
    "clip", [{}, {"clipnorm": 1.0}, {"clipvalue": 1.0}, {"global_clipnorm": 1.0}]
)
@pytest.mark.parametrize(("bad", "norm"), [(np.inf, np.inf), (-np.inf, np.inf), (np.nan, np.nan)])
def test_15_2_gradients_that_are_not_finite(clip, bad, norm):
    sgd = ReferenceSGD(1.0, **clip).build([[1.0, 1.0], [1.0]], statistics_every=1)
    sgd.step([[bad, 1.0], [bad]])
    np.testing.assert_equal(sgd.statistics["gradient_norm"], norm)
    np.testing.assert_equal(sgd.statistics["clip_coefficient"], np.nan)
    assert (sgd.statistics["nonfinite"], sgd.statistics["updates"]) == (2, 1)
    assert [s["nonfinite"] for s in sgd.statistics_per_variable] == [1, 1]
    hidden = clip == {"clipvalue": 1.0} and math.isinf(bad)
    assert math.isfinite(sgd.statistics["update_norm"]) == hidden


def test_15_2_a_frozen_variable_counts_in_the_gradient_but_not_in_the_update():
    groups = [ReferenceGroup({0}, learning_rate_factor=0.0)]
    sgd = ReferenceSGD(1.0).build([[np.inf], [1.0]], groups=groups, statistics_every=1)
    sgd.step([[3.0], [4.0]])
    assert (sgd.statistics["gradient_norm"], sgd.statistics["update_norm"]) == (5.0, 4.0)
    assert [s["update_norm"] for s in sgd.statistics_per_variable] == [0.0, 4.0]
    assert [s["weight_norm"] for s in sgd.statistics_per_variable] == [np.inf, 1.0]


def test_15_2_variables_overwritten_with_their_gradient_are_in_no_norm():
    sgd = ReferenceSGD(1.0).build([3.0, 7.0], overwrite_with_gradient={1}, statistics_every=1)
    sgd.step([6.0, np.inf])
    fields = ("gradient_norm", "update_norm", "weight_norm", "nonfinite")
    assert [sgd.statistics[f] for f in fields] == [6.0, 6.0, 3.0, 1]
    assert [sgd.statistics_per_variable[1][f] for f in fields] == [0.0, 0.0, 0.0, 1]


def test_15_2_the_dynamic_loss_scale_is_that_of_the_step():
    inner = ReferenceSGD(1.0).build([1.0], statistics_every=1)
    scaler = ReferenceLossScale(inner, 8.0, dynamic_growth_steps=2)
    scales = []
    for g in (8.0, np.inf, 8.0, 8.0, 8.0):
        scaler.step([g])
        scales.append((inner.statistics["loss_scale"], inner.statistics["gradient_norm"]))
    # The loss scale skips the second step, which is not an update: the statistics stay.
    assert scales == [(8.0, 1.0), (8.0, 1.0), (4.0, 2.0), (4.0, 2.0), (8.0, 1.0)]
    assert inner.statistics["updates"] == 4


# contract 16 ------------------------------------------------------------------------------------


def state(sgd):
    """Everything that a skipped update does not change."""
    return bits([*sgd.weights, *sgd.velocities, *sgd.averages]), sgd.updates


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "clip", [{}, {"clipnorm": 1.0}, {"clipvalue": 1.0}, {"global_clipnorm": 1.0}]
)
def test_16_1_a_skipped_update_changes_nothing_but_counts(bad, clip):
    sgd = ReferenceSGD(0.5, 0.5, weight_decay=0.25, use_ema=True, ema_overwrite_frequency=2, **clip)
    constraints = [lambda w: w + 1, None]
    sgd.build([[1.0, 2.0], [4.0]], constraints=constraints, skip_nonfinite=True)
    for _ in range(2):
        sgd.step([[1.0, -1.0], [0.5]])
    # k is 2, after the averages were written; a constraint or a decay would now show.
    before = state(sgd)
    counts = []
    for gradients in ([[1.0, bad], [1.0]], [[bad, bad], None], [None, [bad]]):
        sgd.step(gradients)
        assert state(sgd) == before
        counts.append((sgd.steps, sgd.skipped, sgd.skipped_in_a_row))
    assert counts == [(3, 1, 1), (4, 2, 2), (5, 3, 3)]
    sgd.step([[1.0, 1.0], [1.0]])
    assert (sgd.steps, sgd.updates, sgd.skipped, sgd.skipped_in_a_row) == (6, 3, 3, 0)
    assert state(sgd) != before


def test_16_1_nothing_is_skipped_unasked():
    sgd = ReferenceSGD(1.0).build([1.0])
    run(sgd, [np.nan, 1.0])
    assert np.isnan(sgd.weights[0])
    assert (sgd.updates, sgd.skipped, sgd.skipped_in_a_row) == (2, 0, 0)


@settings(REFERENCE, max_examples=60)
@given(
    arguments_without_a_shared_clip,
    clips,
    st.lists(st.sampled_from([0.0, 0.0, np.nan, np.inf, -np.inf]), min_size=12, max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_16_1_skipping_equals_leaving_the_update_out_but_for_t(arguments, clip, added, seed):
    random = np.random.default_rng(seed)
    start = random.normal(size=(2, 2))
    arguments = arguments | clip
    n = arguments["gradient_accumulation_steps"] or 1
    skips, leaves_out = (ReferenceSGD(0.1, **arguments) for _ in range(2))
    groups = grouped({"momentum": 0.5}, {"learning_rate_factor": 0.3})
    skips.build(start, groups=groups, skip_nonfinite=True)
    leaves_out.build(start, groups=groups)
    left_out = 0
    for first in range(0, 12, n):
        bad = added[first : first + n]
        window = [random.normal(size=start.shape) for _ in bad]
        for gradient, b in zip(window, bad, strict=True):
            skips.step([gradient[0], gradient[1] + b])
        if np.all(np.isfinite(bad)):
            for gradient in window:
                leaves_out.step(gradient)
        else:
            left_out += 1
        assert state(skips) == state(leaves_out)
        assert skips.accumulators == [None, None]
    assert (skips.steps, leaves_out.steps) == (12, 12 - left_out * n)
    assert (skips.skipped, skips.iterations) == (left_out, skips.updates + left_out)


def test_16_1_the_window_is_cleared_and_the_next_is_clean():
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=3).build([0.0], skip_nonfinite=True)
    assert run(sgd, [8.0, np.inf, 8.0]) == [0.0] * 3
    assert sgd.has_gradient == [False]
    assert run(sgd, [1.0, 2.0, 3.0]) == [0.0, 0.0, -2.0]
    assert (sgd.steps, sgd.iterations, sgd.updates, sgd.skipped) == (6, 2, 1, 1)


def test_16_1_the_gradient_of_the_update_decides():
    largest = np.finfo(np.float64).max
    # Sums of finite gradients may not be finite: over replicas, duplicate rows or a window.
    sgd = ReferenceSGD(1.0).build([0.0], skip_nonfinite=True)
    sgd.step_replicas([[largest], [largest]])
    sgd.step_replicas([[np.inf], [-np.inf]])
    sgd.step_replicas([[1.0], [np.nan]])
    assert (sgd.weights, sgd.skipped) == ([0.0], 3)
    sgd = ReferenceSGD(1.0).build([[0.0]], skip_nonfinite=True)
    sgd.step([SparseRows(values=[largest, largest], indices=[0, 0])])
    assert (sgd.weights, sgd.skipped) == ([0.0], 1)
    sgd = ReferenceSGD(1.0, gradient_accumulation_steps=2).build([0.0], skip_nonfinite=True)
    run(sgd, [largest, largest])
    assert (sgd.weights, sgd.skipped) == ([0.0], 1)
    # Numbers that overflow in the unscaling count too.
    sgd = ReferenceSGD(1.0, loss_scale_factor=0.5).build([0.0], skip_nonfinite=True)
    run(sgd, [largest])
    assert (sgd.weights, sgd.skipped) == ([0.0], 1)


def test_16_1_a_schedule_sees_skipped_steps_and_a_function_is_called():
    sgd = ReferenceSGD(Schedule(lambda t: 0.5**t)).build([0.0], skip_nonfinite=True)
    assert run(sgd, [1.0, np.nan, 1.0]) == [-1.0, -1.0, -1.25]
    calls = []
    sgd = ReferenceSGD(lambda: calls.append(1) or 1.0).build([0.0], skip_nonfinite=True)
    run(sgd, [np.nan, 1.0])
    assert len(calls) == 2


def test_16_1_a_frozen_variable_skips_too():
    groups = [ReferenceGroup({0}, learning_rate_factor=0.0)]
    sgd = ReferenceSGD(1.0).build([0.0, 0.0], groups=groups, skip_nonfinite=True)
    assert sgd.step([np.inf, 1.0]) == [0.0, 0.0]
    assert sgd.skipped == 1


def test_16_1_a_variable_to_overwrite_is_neither_overwritten_nor_ignored():
    sgd = ReferenceSGD(1.0).build([0.0, 3.0], overwrite_with_gradient={1}, skip_nonfinite=True)
    assert sgd.step([np.nan, 5.0]) == [0.0, 3.0]
    assert sgd.step([1.0, np.inf]) == [0.0, 3.0]
    assert sgd.step([1.0, 5.0]) == [-1.0, 5.0]


def test_16_1_statistics_of_a_skipped_update():
    sgd = ReferenceSGD(Schedule(lambda t: 0.5**t), clipvalue=1.0)
    sgd.build([[3.0, 4.0], [0.0]], statistics_every=1, skip_nonfinite=True)
    sgd.step([[0.0, 0.0], [1.0]])
    sgd.step([[np.inf, -np.inf], [5.0]])
    np.testing.assert_equal(
        sgd.statistics,
        {
            "learning_rate": 0.5,
            "gradient_norm": np.inf,
            "clip_coefficient": np.nan,
            "update_norm": 0.0,
            "weight_norm": math.sqrt(26),
            "update_ratio": 0.0,
            "nonfinite": 2,
            "loss_scale": 1.0,
            "updates": 1,
        },
    )
    assert [s["nonfinite"] for s in sgd.statistics_per_variable] == [2, 0]
    assert [s["gradient_norm"] for s in sgd.statistics_per_variable] == [np.inf, 5.0]
    assert [s["update_norm"] for s in sgd.statistics_per_variable] == [0.0, 0.0]


def test_16_1_skipping_inside_dynamic_loss_scaling_is_refused():
    with pytest.raises(ValueError, match="skip"):
        ReferenceLossScale(ReferenceSGD(1.0).build([0.0], skip_nonfinite=True))
