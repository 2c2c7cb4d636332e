"""Learning-rate schedules against closed forms, as numbers, as tensors and in training."""

import copy
import doctest
import math
import pickle

import keras
import numpy as np
import pytest
from bad_inputs import NO_RATES, WALK
from conftest import BACKEND, WAYS_TO_COMPILE, floatx, model_of_one_weight, weight
from keras.optimizers import schedules as keras_schedules

import kerasgd
from kerasgd import schedules
from kerasgd.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LinearWarmup,
    OneCycle,
    PiecewiseConstantDecay,
    PolynomialDecay,
    Table,
    WarmupStableDecay,
)

# 0, every boundary, the steps around it, and far beyond the last one.
STEPS = [*range(60), 100, 1000, 10**6]

third, seven_eighths = 1 / 3, 7 / 8


def cosine(t, peak, steps, alpha=0.0):
    return peak * ((1 - alpha) * (1 + math.cos(math.pi * min(t, steps) / steps)) / 2 + alpha)


def line(t, start, end, steps):
    return start + (end - start) * t / steps


def cosine_after_warmup(t):
    return line(t, 0.05, third, 6) if t < 6 else cosine(t - 6, third, 11, 0.125)


def restarts(t, rate, first, t_mul, m_mul, alpha):
    peak, length, start = 1.0, first, 0.0
    while t >= start + length - 1e-6:
        start, length, peak = start + length, length * t_mul, peak * m_mul
    fraction = (t - start) / length
    return rate * ((1 - alpha) * peak * (1 + math.cos(math.pi * fraction)) / 2 + alpha)


def cycling(t, rate, steps, end, power):
    length = steps * max(1, -(-t // steps))
    return end + (rate - end) * (1 - t / length) ** power


def warmup_stable_decay(t):
    if t < 7:
        return line(t, 0.01, third, 7)
    return third if t < 16 else line(min(t - 16, 13), third, 0.001, 13)


def one_cycle(t):
    rise, fall, peak, low, end = 7.0, 21.0, third, third / 10, third / 1000
    if t < rise:
        return low + (peak - low) * (1 - math.cos(math.pi * t / rise)) / 2
    return end + (peak - end) * (1 + math.cos(math.pi * min(t - rise, fall) / fall)) / 2


def piecewise(t):
    return 0.5 if t <= 3 else third if t <= 4 else 0.1 if t <= 49 else 0.0


class Halving(keras_schedules.LearningRateSchedule):
    """A user's own schedule, which accepts only scalars."""

    def __call__(self, step):
        return 0.5 ** keras.ops.cast(step, "float32")


CASES = {
    "cosine": (CosineDecay(third, 7), lambda t: cosine(t, third, 7)),
    "cosine, alpha": (CosineDecay(0.1, 49, 0.3), lambda t: cosine(t, 0.1, 49, 0.3)),
    "cosine, warm-up": (
        CosineDecay(0.05, 11, 0.125, warmup_target=third, warmup_steps=6),
        cosine_after_warmup,
    ),
    "cosine, no steps of warm-up": (
        CosineDecay(0.05, 11, warmup_target=third),
        lambda t: cosine(t, third, 11),
    ),
    "restarts": (
        CosineDecayRestarts(third, 5, m_mul=seven_eighths, alpha=0.1),
        lambda t: restarts(t, third, 5, 2, seven_eighths, 0.1),
    ),
    "restarts of one length": (
        CosineDecayRestarts(third, 7, t_mul=1, m_mul=seven_eighths),
        lambda t: restarts(t, third, 7, 1, seven_eighths, 0) if t < 10**4 else 0.0,
    ),
    "restarts after broken steps": (
        CosineDecayRestarts(0.1, 3, t_mul=1.5),
        lambda t: restarts(t, 0.1, 3, 1.5, 1, 0),
    ),
    "exponential": (
        ExponentialDecay(third, 7, seven_eighths),
        lambda t: third * seven_eighths ** (t / 7),
    ),
    "exponential, staircase": (
        ExponentialDecay(third, 49, seven_eighths, staircase=True),
        lambda t: third * seven_eighths ** (t // 49),
    ),
    "inverse time": (
        InverseTimeDecay(third, 7, seven_eighths),
        lambda t: third / (1 + seven_eighths * t / 7),
    ),
    "inverse time, staircase": (
        InverseTimeDecay(third, 49, seven_eighths, staircase=True),
        lambda t: third / (1 + seven_eighths * (t // 49)),
    ),
    "piecewise": (PiecewiseConstantDecay([3, 4, 49], [0.5, third, 0.1, 0]), piecewise),
    "piecewise, one boundary": (
        PiecewiseConstantDecay(5, [third, 0.1]),
        lambda t: third if t <= 5 else 0.1,
    ),
    "polynomial": (
        PolynomialDecay(third, 49, 0.01, power=0.5),
        lambda t: 0.01 + (third - 0.01) * (1 - min(t, 49) / 49) ** 0.5,
    ),
    "polynomial, cycle": (
        PolynomialDecay(third, 7, 0.01, power=1.5, cycle=True),
        lambda t: cycling(t, third, 7, 0.01, 1.5),
    ),
    "warm-up to a number": (
        LinearWarmup(third, 7, 0.01),
        lambda t: line(t, 0.01, third, 7) if t < 7 else third,
    ),
    "warm-up to a schedule": (
        LinearWarmup(ExponentialDecay(third, 7, 0.5), 3),
        lambda t: line(t, 0, third, 3) if t < 3 else third * 0.5 ** ((t - 3) / 7),
    ),
    "no warm-up": (LinearWarmup(third, 0), lambda t: third),
    "warm-up to a user's own": (
        LinearWarmup(Halving(), 2),
        lambda t: t / 2 if t < 2 else 0.5 ** (t - 2),
    ),
    "warm-up, stable, decay": (
        WarmupStableDecay(third, 7, 9, 13, 0.01, 0.001),
        warmup_stable_decay,
    ),
    "one cycle": (OneCycle(third, 28, 0.25, 10, 1000), one_cycle),
    "table": (Table([0.1, third, 0]), lambda t: [0.1, third, 0.0][min(t, 2)]),
    "function": (
        Table.of_function(lambda step: third / (1 + step), 20),
        lambda t: third / (1 + min(t, 19)),
    ),
}
all_cases = pytest.mark.parametrize(("schedule", "formula"), CASES.values(), ids=CASES)


def expected_at(formula, steps):
    return [formula(t) for t in steps]


def periodic(schedule):
    """Whether the schedule is periodic: at large steps, float32 cannot resolve its period."""
    return isinstance(schedule, CosineDecayRestarts) or getattr(schedule, "cycle", False)


@all_cases
def test_numbers_are_exact(schedule, formula):  # contract 2.2
    exact = getattr(schedule, "learning_rate", None).__class__ is not Halving
    rates = schedule(STEPS)
    assert rates == pytest.approx(
        expected_at(formula, STEPS), rel=1e-12 if exact else 1e-6, abs=1e-12
    )
    assert isinstance(rates, list)
    assert [schedule(t) for t in STEPS] == pytest.approx(rates, rel=1e-15)
    assert schedules.evaluate(schedule, STEPS) == rates


@all_cases
def test_tensors_give_tensors(schedule, formula):  # contract 2.2, 8.2
    steps = [t for t in STEPS if t < 10**6 or not periodic(schedule)]
    scalars = [schedule(keras.ops.convert_to_tensor(t, "int32")) for t in steps]
    assert all(keras.ops.is_tensor(rate) and rate.shape == () for rate in scalars)
    expected = np.array(expected_at(formula, steps))
    difference = np.array([float(rate) for rate in scalars]) - expected
    assert np.abs(difference).max() <= 2e-6 * expected.max()


@all_cases
def test_rates_are_never_in_half_precision(schedule, formula):  # contract 8.2
    with floatx("float16"):
        rate = schedule(keras.Variable(5, dtype="int32", trainable=False))
    assert keras.backend.standardize_dtype(rate.dtype) == "float32"
    assert float(rate) == pytest.approx(formula(5), rel=1e-5, abs=1e-7)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless it is switched on")
@all_cases
def test_rates_are_float64_under_floatx_float64(schedule, formula):  # contract 8.2
    if "Halving" in repr(schedule):
        pytest.skip("the user's schedule is a float32")
    with floatx("float64"):
        rate = schedule(keras.Variable(5, dtype="int64", trainable=False))
    assert float(rate) == pytest.approx(formula(5), rel=1e-12, abs=1e-15)


def weights_after_each_step(schedule, steps, **options):
    """The weight after each step; its gradient is 1, so it falls by the rate."""
    model = model_of_one_weight(kerasgd.SGD(schedule), **options)
    weights = []

    def note(batch, logs):
        if BACKEND == "jax":
            model.jax_state_sync()
        weights.append(weight(model))

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=note)]
    ones = np.ones((steps, 1))
    model.fit(ones, ones, batch_size=1, shuffle=False, verbose=0, callbacks=callbacks)
    return weights


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@all_cases
def test_training_uses_the_rate_of_each_step(schedule, formula, options):  # contract 2.2
    weights = weights_after_each_step(schedule, 52, **options)
    expected = -np.cumsum(expected_at(formula, range(52)))
    assert np.abs(np.array(weights) - expected).max() <= 2e-6 * np.abs(expected).max()


@all_cases
def test_schedules_can_be_saved_copied_and_compared(schedule, formula):  # contract 9.3
    if "Halving" in repr(schedule):
        pytest.skip("the user's class is not registered")
    again = keras_schedules.deserialize(keras_schedules.serialize(schedule))
    assert again == schedule
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
    optimizer = kerasgd.SGD.from_config(kerasgd.SGD(schedule).get_config())
    assert optimizer.get_config() == kerasgd.SGD(schedule).get_config()
    assert again([0, 5, 50]) == schedule([0, 5, 50])


def test_a_saved_model_has_its_schedule(tmp_path):  # contract 9.1
    schedule = LinearWarmup(Table.of_function(lambda step: 0.5**step, 4), 2)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(schedule), loss="mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer._learning_rate == schedule


def test_schedules_are_subclasses_of_those_of_keras():
    for name in (
        "CosineDecay",
        "CosineDecayRestarts",
        "ExponentialDecay",
        "InverseTimeDecay",
        "PiecewiseConstantDecay",
        "PolynomialDecay",
    ):
        ours, theirs = getattr(schedules, name), getattr(keras_schedules, name)
        assert issubclass(ours, theirs)
    for schedule, _ in CASES.values():
        assert isinstance(schedule, keras_schedules.LearningRateSchedule)
        assert type(schedule).__module__ == "kerasgd.schedules"


# No other rule would refuse (2, 0.5, ...)
KERAS = {
    "CosineDecay": (0.1, 7, 0.25),
    "CosineDecayRestarts": (0.1, 7),
    "ExponentialDecay": (0.1, 7, 0.5, True),
    "InverseTimeDecay": (0.1, 7, 0.5),
    "PiecewiseConstantDecay": ([3, 5], [0.1, 0.2, 0.3]),
    "PolynomialDecay": (0.1, 7, 0.01, 2, True),
}


@pytest.mark.parametrize("name", KERAS)
def test_arguments_are_in_the_order_of_keras(name):
    ours = getattr(schedules, name)(*KERAS[name])
    theirs = getattr(keras_schedules, name)(*KERAS[name])
    assert ours.get_config() == theirs.get_config()
    assert list(ours.get_config()) == list(theirs.get_config())
    assert float(ours(5)) == pytest.approx(float(theirs(5)), rel=1e-6)


def test_rates_come_as_the_steps_do():
    schedule = Table([0.5, 0.25])
    assert schedule(1) == schedule(1.0) == schedule(np.int64(1)) == 0.25
    assert schedule(range(2)) == schedule((0, 1)) == [0.5, 0.25]
    assert schedule([]) == []
    assert schedule(np.array([[0], [1]])).tolist() == [[0.5], [0.25]]
    assert schedule(np.array(1)).tolist() == 0.25


def test_arguments_may_be_any_kind_of_number():  # contract 12.1, 12.2
    schedule = CosineDecay(np.float32(1), 10.0, 0)
    assert schedule == CosineDecay(1.0, 10)
    assert isinstance(schedule.decay_steps, int)
    assert isinstance(schedule.alpha, float)


def test_values_must_be_one_more_than_boundaries():  # contract 12
    with pytest.raises(kerasgd.ArgumentValueError, match="`values` must be 3 numbers, one more"):
        PiecewiseConstantDecay([1, 2], [0.1, 0.2])


def test_names_of_arguments_are_checked():  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError, match="Did you mean `decay_steps`"):
        CosineDecay(0.1, decay_step=5)
    with pytest.raises(kerasgd.UnknownArgumentError, match="Did you mean `name`"):
        Table.of_function(lambda step: 1, 3, nam="x")


def test_schedules_cannot_be_changed():
    with pytest.raises(AttributeError):
        CosineDecay(0.1, 5).decay_steps = 6


@pytest.mark.parametrize("returned", NO_RATES)
def test_the_values_of_a_function_are_checked(returned):  # contract 2.4
    with pytest.raises(kerasgd.ArgumentValueError, match="At step 2 it returned"):
        Table.of_function(lambda step: WALK[returned] if step == 2 else 0.1, 3)


def test_an_error_in_the_function_is_the_cause():
    def failing(step):
        raise OSError("the file is gone")

    failed = "At step 0 it failed with OSError: the file is gone."
    with pytest.raises(kerasgd.ArgumentValueError, match=failed) as caught:
        Table.of_function(failing, 3)
    assert isinstance(caught.value.__cause__, OSError)


@all_cases
def test_each_schedule_has_a_formula_and_a_span(schedule, formula):
    assert isinstance(schedule.formula, str)
    assert 1 <= schedule.span < 300


def test_only_schedules_are_evaluated():
    with pytest.raises(kerasgd.ArgumentTypeError, match="`schedule` must be a learning-rate"):
        schedules.evaluate(0.1, 3)


def test_doctests():
    result = doctest.testmod(schedules)
    assert result.attempted > 10
    assert result.failed == 0


def test_a_warm_up_without_a_target_warns(recwarn):
    with pytest.warns(kerasgd.KerasgdWarning, match="no warm-up without a `warmup_target`"):
        CosineDecay(0.1, 10, warmup_steps=3)
    recwarn.clear()
    CosineDecay(0.1, 10, warmup_steps=3, warmup_target=1)
    CosineDecay(0.1, 10)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("make", "typed", "meant"),
    [
        (OneCycle, "max_lr", "peak_learning_rate"),
        (OneCycle, "pct_start", "warmup_fraction"),
        (CosineDecay, "T_max", "decay_steps"),
        (CosineDecay, "max_lr", "warmup_target"),
        (ExponentialDecay, "gamma", "decay_rate"),
        (PiecewiseConstantDecay, "milestones", "boundaries"),
    ],
)
def test_names_of_other_libraries_lead_to_ours(make, typed, meant):
    # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError) as refusal:
        make(**{typed: 1})
    assert refusal.value.suggestion == meant
