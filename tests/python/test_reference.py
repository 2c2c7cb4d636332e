"""The reference against closed forms worked out by hand.

The reference judges every other implementation, so nothing here compares it with itself: the
numbers come from the sentences of the contract, whose clause each test names.
"""

import doctest
import inspect
import subprocess
import sys

import numpy as np
import pytest
from conftest import KEYWORD_ONLY, SIGNATURE

from kerasgd import reference
from kerasgd.reference import ReferenceLossScale, ReferenceSGD, Schedule, SparseRows


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
    # The velocity neither moves it nor fades: it goes on from -1 to -1.5.
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
    # Rows 0 and 1 sum to (3, 4); the norm of the three rows given would be sqrt(1 + 4 + 16).
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
