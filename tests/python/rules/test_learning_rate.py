"""Rates that are functions, and rates that are replaced during training (contract 2)."""

import json

import keras
import numpy as np
import pytest
from bad_inputs import NO_RATES, WALK
from conftest import (
    BACKEND,
    WAYS_TO_COMPILE,
    fit_ones,
    halving,
    model_of_one_weight,
    numbers,
    weight,
)

import kerasgd
from kerasgd.functions import ForeignFunction
from kerasgd.rules.learning_rate import value_of

not_on_jax = pytest.mark.skipif(BACKEND == "jax", reason="a compiled JAX step calls no function")


@not_on_jax
@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_a_function_is_called_once_a_step(options):  # contract 2.3, D2
    calls = []
    model = model_of_one_weight(kerasgd.SGD(halving(calls)), **options)
    # Sum of 2^-k, k = 1 to 4.
    assert fit_ones(model, 4) == pytest.approx(-(1 - 0.5**4), rel=1e-6)
    assert len(calls) == 4


@pytest.mark.skipif(BACKEND != "tensorflow", reason="one step an execution on this backend")
@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_steps_of_one_execution_share_a_value(options):  # contract 2.3
    calls = []
    model = model_of_one_weight(kerasgd.SGD(halving(calls)), steps_per_execution=2, **options)
    assert fit_ones(model, 4) == pytest.approx(-(2 * 0.5 + 2 * 0.25), rel=1e-6)
    assert len(calls) == 2


def test_eager_steps_call_the_function_once_whatever_the_arguments():  # contract 2.3, D2
    calls = []
    variables = [keras.Variable([1.0, 2.0]) for _ in range(3)]
    optimizer = kerasgd.SGD(halving(calls), momentum=0.9, weight_decay=0.1, clipnorm=1)
    for _ in range(3):
        optimizer.apply([keras.ops.ones(2)] * 3, variables)
    assert len(calls) == 3
    assert optimizer.learning_rate == 0.5**3
    assert len(calls) == 3
    assert int(optimizer.iterations) == 3


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX cannot call a function")
def test_a_compiled_step_of_jax_refuses_functions():  # contract 2.3
    model = model_of_one_weight(kerasgd.SGD(lambda: 0.5))
    with pytest.raises(kerasgd.LearningRateError, match="LearningRateFunction") as caught:
        fit_ones(model, 1)
    assert caught.value.argument == "learning_rate"


@pytest.mark.parametrize("returned", NO_RATES)
def test_what_a_function_returns_is_checked(returned):  # contract 2.4
    w = keras.Variable([1.0])
    optimizer = kerasgd.SGD(lambda: WALK[returned])
    with pytest.raises(kerasgd.LearningRateError, match="`learning_rate` must be") as caught:
        optimizer.apply([keras.ops.ones(1)], [w])
    assert caught.value.argument == "learning_rate"
    assert numbers(w) == [1.0]
    assert int(optimizer.iterations) == 0


def failing():
    raise OSError("the file is gone")


@not_on_jax
@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_a_failing_function_stops_training(options):  # contract 2.4
    model = model_of_one_weight(kerasgd.SGD(failing), **options)
    with pytest.raises(kerasgd.LearningRateError, match="the file is gone") as caught:
        fit_ones(model, 2)
    assert isinstance(caught.value.original, OSError)


class SetRate(keras.callbacks.Callback):
    """Set the rate after the second step, as a user's callback might."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            if BACKEND == "jax":
                self.model.jax_state_sync()
            self.model.optimizer.learning_rate = self.rate


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_a_number_takes_effect_at_once(options):  # contract 2.1, 2.7
    model = model_of_one_weight(kerasgd.SGD(0.5), **options)
    assert fit_ones(model, 4, callbacks=[SetRate(0.25)]) == pytest.approx(-1.5, rel=1e-6)
    assert model.optimizer.get_config()["learning_rate"] == 0.25


SCHEDULE = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.25])


@pytest.mark.parametrize("first", [0.5, SCHEDULE, lambda: 0.5], ids=["number", "schedule", "fn"])
@pytest.mark.parametrize(
    ("second", "rate"), [(0.125, 0.125), (SCHEDULE, 0.25), (lambda: 0.375, 0.375)]
)
def test_any_rate_can_replace_any_other_in_eager_code(first, second, rate):  # contract 2.7
    w = keras.Variable([0.0])
    optimizer = kerasgd.SGD(first)
    for _ in range(3):
        optimizer.apply([keras.ops.ones(1)], [w])
    before = float(keras.ops.convert_to_numpy(w)[0])
    optimizer.learning_rate = second
    optimizer.apply([keras.ops.ones(1)], [w])
    assert before - float(keras.ops.convert_to_numpy(w)[0]) == pytest.approx(rate, rel=1e-6)


COMPILED = pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled")


@COMPILED
@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("second", [SCHEDULE, lambda: 0.25], ids=["schedule", "function"])
@pytest.mark.parametrize("first", [0.5, SCHEDULE], ids=["number", "other schedule"])
def test_a_replacement_that_a_compiled_step_cannot_follow_is_refused(first, second, options):
    # contract 2.7
    if second is SCHEDULE:
        second = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.125, 0.0625])
    model = model_of_one_weight(kerasgd.SGD(first, momentum=0.5), **options)
    before = fit_ones(model, 1)
    with pytest.raises(kerasgd.StateError, match=r"`optimizer.update\(\)`.*`compile\(\)`"):
        model.optimizer.learning_rate = second
    assert model.optimizer._learning_rate is not second
    if BACKEND == "jax" and not isinstance(second, keras.optimizers.schedules.LearningRateSchedule):
        return  # a function is refused in a compiled step
    optimizer = model.optimizer.update(learning_rate=second, keep_state=True)
    model.compile(optimizer, loss=model.loss, **options)
    rate = 0.125 if callable(getattr(second, "get_config", None)) else 0.25
    assert fit_ones(model, 1) == pytest.approx(before + 0.5 * before - rate, rel=1e-6)


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("first", [SCHEDULE, lambda: 0.5], ids=["schedule", "function"])
def test_a_number_replaces_a_schedule_or_function_at_once(first, options):  # contract 2.7
    if BACKEND == "jax" and first is not SCHEDULE:
        pytest.skip("only JAX cannot call a function")
    model = model_of_one_weight(kerasgd.SGD(first), **options)
    before = fit_ones(model, 1)
    model.optimizer.learning_rate = 0.0
    assert fit_ones(model, 2) == before
    model.optimizer.learning_rate = 0.125
    assert fit_ones(model, 2) == pytest.approx(before - 0.25, rel=1e-6)
    assert float(model.optimizer.learning_rate) == 0.125
    assert model.optimizer.get_config()["learning_rate"] == 0.125


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_keras_callbacks_replace_a_schedule(options):  # contract 2.7
    model = model_of_one_weight(kerasgd.SGD(SCHEDULE), **options)
    rates = [0.5, 0.25, 0.125]
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch])
    x = np.ones((1, 1))
    history = model.fit(x, x, epochs=3, callbacks=[scheduler], verbose=0)
    assert history.history["learning_rate"] == rates
    assert weight(model) == pytest.approx(-sum(rates), rel=1e-6)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, mode="max")
    model.compile(kerasgd.SGD(SCHEDULE), loss=model.loss, **options)
    before = weight(model)
    model.fit(x, x, epochs=3, callbacks=[plateau], verbose=0)
    # 1 and 1 by the schedule; the callback watches for a maximum, so the falling loss is a plateau
    # and halves 0.25
    assert weight(model) == pytest.approx(before - 1 - 1 - 0.125, rel=1e-6)
    assert float(model.optimizer.learning_rate) == 0.0625  # halved again, after the last epoch


@pytest.mark.parametrize("receives", ["number", "schedule"])
@pytest.mark.parametrize("file_has", ["number", "schedule", "replaced", "older schedule"])
def test_the_rate_of_a_file(file_has, receives):  # contract 2.7
    first = 0.5 if file_has == "number" else SCHEDULE
    saved = kerasgd.SGD(first)
    if file_has == "replaced":
        saved.learning_rate = 0.25
    store = {}
    saved.save_own_variables(store)
    if file_has == "older schedule":
        del store["rate_replaced"]
        description = json.loads(store["description"].tobytes())
        del description["rate_is_number"], description["arrays"]
        store["description"] = np.frombuffer(json.dumps(description).encode(), "uint8")
    into = kerasgd.SGD(0.125 if receives == "number" else SCHEDULE)
    into.load_own_variables(store)
    own = {"number": 0.125, "schedule": 1.0}[receives]
    expected = {"number": 0.5 if receives == "number" else own, "replaced": 0.25}
    assert float(into.learning_rate) == expected.get(file_has, own)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX's trainer takes the variables away")
def test_a_rate_set_while_the_trainer_holds_it_is_refused():  # contract 2.7
    optimizer = kerasgd.SGD(0.5)
    model = model_of_one_weight(optimizer)

    class Behind(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            optimizer.learning_rate = 0.25

    with pytest.raises(kerasgd.StateError, match=r"self\.model\.optimizer"):
        fit_ones(model, 2, callbacks=[Behind()])


def test_variables_layers_and_models_are_no_rates():  # contract 2.8
    layer = keras.layers.Dense(1)
    model = keras.Sequential([layer])
    for value in (keras.Variable(0.5), layer, model):
        with pytest.raises(kerasgd.ArgumentTypeError, match="`learning_rate` must be"):
            kerasgd.SGD(value)


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_a_schedule_out_of_range_stops_an_eager_step(bad):  # contract 2.8
    class Bad(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return keras.ops.where(keras.ops.cast(step, "float32") < 1, 0.5, bad)

    w = keras.Variable([0.0])
    optimizer = kerasgd.SGD(Bad())
    optimizer.apply([keras.ops.ones(1)], [w])
    with pytest.raises(kerasgd.LearningRateError, match=f"one that gives {bad:g} at step 1"):
        optimizer.apply([keras.ops.ones(1)], [w])
    assert keras.ops.convert_to_numpy(w).tolist() == [-0.5]


@pytest.mark.skipif(BACKEND == "jax", reason="only JAX cannot call a function")
@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_reading_the_rate_does_not_call_the_function(options):  # contract 2.3
    calls = []
    model = model_of_one_weight(kerasgd.SGD(halving(calls)), **options)

    seen = []

    class Reads(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))

    fit_ones(model, 3, callbacks=[Reads()])
    assert len(calls) == 3
    assert seen == [0.5, 0.25, 0.125]


def test_the_configuration_has_the_number_that_was_given():  # contract 2.6
    for rate in (0.1, 1 / 3, 1e-7, 3e38, 0):
        optimizer = kerasgd.SGD(rate)
        assert optimizer.get_config()["learning_rate"] == rate
        assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == np.float32(rate)
    optimizer = kerasgd.SGD(0.5)
    optimizer.learning_rate.assign(0.1)
    assert optimizer.get_config()["learning_rate"] == 0.1


def test_a_schedule_counts_steps_also_under_accumulation():  # contract 2.2, 7.2
    seen = []

    class Noting(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            seen.append(int(step))
            return 0.1

    w = keras.Variable([0.0])
    optimizer = kerasgd.SGD(Noting(), gradient_accumulation_steps=2)
    for _ in range(4):
        optimizer.apply([keras.ops.ones(1)], [w])
    assert seen == [0, 1, 2, 3]
    assert int(optimizer.iterations) == 2


class RateMetric(keras.metrics.Metric):
    """Shows the rate, like metrics of users; compiled with the step."""

    def __init__(self, optimizer):
        super().__init__(name="rate")
        self.optimizer = optimizer

    def update_state(self, *args, **kwargs):
        pass

    def result(self):
        return keras.ops.convert_to_tensor(self.optimizer.learning_rate)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX's trainer hides variables from metrics")
@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("first", ["schedule", "function"])
def test_a_metric_shows_the_rate_that_is_used(first, options):  # contract 2.3, 2.7
    now = [1.0]
    optimizer = kerasgd.SGD(SCHEDULE if first == "schedule" else lambda: now[0])
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    metric = RateMetric(optimizer)
    model.compile(optimizer, loss=lambda y, output: output[..., 0], metrics=[metric], **options)
    x = np.ones((1, 1))
    assert model.fit(x, x, verbose=0).history["rate"] == [1.0]
    now[0] = 0.25
    # The metric is read after the step, when a schedule has already counted the step.
    assert model.fit(x, x, verbose=0).history["rate"] == [0.25]
    optimizer.learning_rate = 0.0625
    assert model.fit(x, x, verbose=0).history["rate"] == [0.0625]


def test_a_function_of_r_describes_its_result():
    # contract 2.4
    function = ForeignFunction(lambda: None, (), lambda: "what R says")
    with pytest.raises(kerasgd.LearningRateError, match="not one that returns what R says"):
        value_of(function)


def test_an_error_in_r_is_quoted_without_its_python_type():
    # contract 2.4

    def fails():
        raise RuntimeError("no file.")

    with pytest.raises(kerasgd.LearningRateError, match=r"one that fails: no file\.$"):
        value_of(ForeignFunction(fails))
    with pytest.raises(kerasgd.LearningRateError, match=r"fails with RuntimeError: no file\.$"):
        value_of(fails)


def test_a_rate_too_large_for_a_float_is_refused():
    # contract 2.4
    with pytest.raises(kerasgd.LearningRateError, match="one that returns an object of class int"):
        value_of(lambda: 10**400)
