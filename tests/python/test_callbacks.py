"""The callbacks: a rate before each batch, statistics, and a stop (contract 2.3, 15.4, 16.2)."""

import csv
import math
import pickle

import keras
import numpy as np
import pytest
from conftest import (
    BACKEND,
    WAYS_TO_COMPILE,
    fit_ones,
    halving,
    model_of_one_weight,
    weight,
)

import kerasgd
from kerasgd.callbacks import LearningRateFunction, Statistics, StopOnNonfinite


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_the_callback_sets_the_rate_before_each_batch(options):  # contract 2.3
    calls = []
    model = model_of_one_weight(kerasgd.SGD(0.1), **options)
    assert fit_ones(model, 4, callbacks=[LearningRateFunction(halving(calls))]) == pytest.approx(
        -(1 - 0.5**4), rel=1e-6
    )
    assert len(calls) == 4


def test_the_callback_reaches_through_a_loss_scale():  # contract 2.3, 6.3
    calls = []
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.1), 4)
    model = model_of_one_weight(optimizer)
    trained = fit_ones(model, 2, callbacks=[LearningRateFunction(halving(calls))])
    assert trained == pytest.approx(-0.75, rel=1e-6)


def test_the_callback_requires_a_number_as_first_rate():  # contract 2.3
    model = model_of_one_weight(kerasgd.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    with pytest.raises(kerasgd.StateError, match="must be a number"):
        fit_ones(model, 1, callbacks=[LearningRateFunction(lambda: 0.1)])


def failing():
    raise OSError("the file is gone")


def test_a_failing_function_of_the_callback_stops_training():  # contract 2.4
    model = model_of_one_weight(kerasgd.SGD(0.1))
    with pytest.raises(kerasgd.LearningRateError, match="the file is gone") as caught:
        fit_ones(model, 2, callbacks=[LearningRateFunction(failing)])
    assert isinstance(caught.value.original, OSError)


# -- statistics ----------------------------------------------------------------------------------


def tracking(per_variable=False, every=1, **arguments):
    return kerasgd.SGD(0.5, **arguments).track_statistics(per_variable, every)


def fit(model, gradients, callbacks, batch_size=1, **options):
    """Train the weight of `model_of_one_weight()` with these gradients, one a batch."""
    x = np.array(gradients, "float32").reshape(-1, 1)
    options = {"verbose": 0, "shuffle": False, **options}
    return model.fit(x, x, batch_size=batch_size, callbacks=callbacks, **options)


def column(callback, name):
    return [row[name] for row in callback.rows]


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_each_measured_update_is_a_row(options):  # contract 15.3, 15.4
    callback = Statistics()
    model = model_of_one_weight(tracking(True, clipnorm=2.0), **options)
    fit(model, [1.0, 2.0, 4.0], [callback], epochs=2)
    assert column(callback, "epoch") == [1, 1, 1, 2, 2, 2]
    assert column(callback, "batch") == [1, 2, 3] * 2
    assert column(callback, "updates") == [1, 2, 3, 4, 5, 6]
    assert column(callback, "gradient_norm") == [1, 2, 4] * 2
    assert column(callback, "clip_coefficient") == [1, 1, 0.5] * 2
    assert column(callback, "update_norm") == [0.5, 1, 1] * 2
    assert column(callback, "weight_norm") == [0, 0.5, 1.5, 2.5, 3, 4]
    assert column(callback, "learning_rate") == [0.5] * 6
    paths = [row["variables"][0]["path"] for row in callback.rows]
    assert paths == [model.trainable_variables[0].path] * 6


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize(
    ("every", "window", "batches", "updates"),
    [
        (2, 1, [(1, 2), (1, 4), (2, 1), (2, 3), (2, 5)], [2, 4, 6, 8, 10]),
        (1, 2, [(1, 2), (1, 4), (2, 1), (2, 3), (2, 5)], [1, 2, 3, 4, 5]),
        (2, 2, [(1, 4), (2, 3)], [2, 4]),
    ],
)
def test_rows_come_at_every_so_many_updates(every, window, batches, updates, options):
    # contract 15.1, 15.4, 7
    callback = Statistics()
    optimizer = tracking(every=every, gradient_accumulation_steps=window)
    fit(model_of_one_weight(optimizer, **options), np.ones(5), [callback], epochs=2)
    rows = zip(column(callback, "epoch"), column(callback, "batch"), strict=True)
    assert list(rows) == batches
    assert column(callback, "updates") == updates


@pytest.mark.parametrize(("every", "updates"), [(1, [3, 6, 8]), (2, [2, 6, 8]), (3, [3, 6])])
@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch's trainer does one batch at a time")
def test_of_each_execution_the_last_measured_update_is_a_row(every, updates):  # contract 15.4
    callback = Statistics()
    model = model_of_one_weight(tracking(every=every), steps_per_execution=3)
    fit(model, np.ones(8), [callback])
    assert column(callback, "updates") == updates
    assert column(callback, "batch")[:2] == [3, 6]


def test_logs_sum_up_the_measured_updates_of_an_epoch(tmp_path):  # contract 15.4
    callback, file = Statistics(), tmp_path / "log.csv"
    model = model_of_one_weight(tracking(clipnorm=2.0))
    logger = keras.callbacks.CSVLogger(file)
    logs = fit(model, [1.0, 4.0, 2.0, 3.0], [callback, logger], epochs=2).history
    assert logs["learning_rate"] == [0.5, 0.5]
    assert logs["gradient_norm"] == [2.5, 2.5]
    assert logs["clipped"] == [0.5, 0.5]
    assert logs["nonfinite"] == [0, 0]
    # The weight is 0, 0.5, 1.5, 2.5, and finally 3.5.
    ratios = [0, 1 / 0.5, 1 / 1.5, 1 / 2.5], [0.5 / 3.5, 1 / 4, 1 / 5, 1 / 6]
    assert logs["update_ratio"] == pytest.approx([sum(r) / 4 for r in ratios], rel=1e-6)
    assert "loss_scale" not in logs
    written = list(csv_rows(file))
    for name in ("learning_rate", "gradient_norm", "update_ratio", "clipped", "nonfinite"):
        assert [float(row[name]) for row in written] == logs[name]


def csv_rows(file):
    with file.open(newline="") as lines:
        yield from csv.DictReader(lines)


def test_callbacks_before_it_do_not_see_the_logs():  # contract 15.4
    seen = {}

    class Sees(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def on_epoch_end(self, epoch, logs=None):
            seen[self.name] = "gradient_norm" in logs

    model = model_of_one_weight(tracking())
    history = fit(model, [1.0], [Sees("before"), Statistics(), Sees("after")])
    assert seen == {"before": False, "after": True}
    assert history.history["gradient_norm"] == [1]


def test_an_epoch_without_measured_updates_has_no_numbers():  # contract 15.4
    callback = Statistics()
    logs = fit(model_of_one_weight(tracking(every=3)), np.ones(2), [callback], epochs=3).history
    assert column(callback, "epoch") == [2, 3]
    for name in ("learning_rate", "gradient_norm", "update_ratio", "clipped"):
        assert [math.isnan(value) for value in logs[name]] == [True, False, False]
    assert logs["nonfinite"] == [0, 0, 0]


def test_means_leave_out_what_is_not_finite():  # contract 15.4, 16.1
    optimizer = tracking(global_clipnorm=2.0).skip_nonfinite()
    logs = fit(model_of_one_weight(optimizer), [4.0, np.nan, 1.0, np.inf], [Statistics()]).history
    assert logs["gradient_norm"] == [2.5]
    assert logs["nonfinite"] == [2]
    assert logs["clipped"] == [0.25]


def test_validation_and_a_second_fit_go_on():  # contract 15.4
    callback = Statistics()
    model = model_of_one_weight(tracking(every=2))
    fit(model, np.ones(3), [callback], validation_data=(np.ones((2, 1)), np.ones((2, 1))))
    fit(model, np.ones(3), [callback], initial_epoch=1, epochs=2)
    fresh = Statistics()
    fit(model, np.ones(3), [fresh])
    assert column(callback, "updates") == [2, 4, 6]
    assert column(callback, "epoch") == [1, 2, 2]
    assert column(fresh, "updates") == [8]


@pytest.mark.parametrize("every", [1, 2])
def test_steps_that_a_dynamic_scale_skips_are_no_rows(every):  # contract 15.4, 6.3
    callback = Statistics()
    optimizer = kerasgd.LossScaleOptimizer(tracking(every=every), 8.0, 3)
    gradients = [1.0, np.inf, 1.0, np.inf, 1.0, 1.0, 1.0]
    logs = fit(model_of_one_weight(optimizer), gradients, [callback]).history
    if every == 1:
        assert column(callback, "batch") == [1, 3, 5, 6, 7]
        assert column(callback, "updates") == [1, 2, 3, 4, 5]
        assert column(callback, "loss_scale") == [8, 4, 2, 2, 2]
    else:
        assert column(callback, "batch") == [3, 6]
        assert column(callback, "updates") == [2, 4]
    assert logs["loss_scale"] == [2]
    assert logs["nonfinite"] == [0]


def test_a_fixed_scale_is_in_the_logs():  # contract 15.4, 6.1
    logs = fit(model_of_one_weight(tracking(loss_scale_factor=8.0)), [1.0], [Statistics()]).history
    assert logs["loss_scale"] == [8]
    assert logs["gradient_norm"] == [1]


def test_the_wrapper_of_keras_is_looked_through():  # contract 15.4
    callback = Statistics()
    optimizer = keras.optimizers.LossScaleOptimizer(tracking(), initial_scale=8.0)
    logs = fit(model_of_one_weight(optimizer), [1.0, np.inf, 2.0], [callback]).history
    assert column(callback, "gradient_norm") == [1, 2]
    assert column(callback, "batch") == [1, 3]
    # The inner optimizer does not know that scale.
    assert "loss_scale" not in logs


@pytest.mark.parametrize(
    "optimizer",
    [
        kerasgd.SGD(),
        kerasgd.LossScaleOptimizer(kerasgd.SGD()),
        keras.optimizers.SGD(),
        keras.optimizers.LossScaleOptimizer(kerasgd.SGD()),
    ],
    ids=["ours", "scaled", "Keras'", "scaled by Keras"],
)
def test_statistics_of_an_optimizer_that_does_not_track_are_refused(optimizer):  # contract 15.4
    model = model_of_one_weight(optimizer)
    with pytest.raises(kerasgd.StateError, match=r"Call `optimizer.track_statistics\(\)` before"):
        fit(model, [1.0], [Statistics()])
    assert weight(model) == 0


def test_a_model_without_trainable_weights_has_no_rows():  # contract 15.4
    model = model_of_one_weight(tracking())
    model.trainable = False
    model.compile(optimizer=tracking(), loss=model.loss)
    callback = Statistics()
    fit(model, np.ones(2), [callback])
    assert callback.rows == []


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's trainer takes the state away")
def test_the_weights_are_not_brought_back_to_read_statistics():  # contract 15.4
    model = model_of_one_weight(tracking())
    brought, bring_back = [], model.jax_state_sync

    def counting():
        if not model._jax_state_synced:
            brought.append(model._jax_state is not None)
        bring_back()

    model.jax_state_sync = counting
    fit(model, np.ones(9), [])
    without = sum(brought)  # at the end of the epoch
    callback = Statistics()
    fit(model, np.ones(9), [callback])
    assert len(callback.rows) == 9
    if not brought:
        pytest.skip("this Keras brings the state back by another method")
    assert sum(brought) == 2 * without


# -- gradients that are not finite ---------------------------------------------------------------


def skipping(**arguments):
    return kerasgd.SGD(0.5, **arguments).skip_nonfinite()


def stopped(model, gradients, max_in_a_row=1, **options):
    with pytest.raises(kerasgd.NonfiniteGradientError) as caught:
        fit(model, gradients, [StopOnNonfinite(max_in_a_row)], **options)
    return caught.value


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_training_stops_at_a_gradient_that_is_not_finite(options):  # contract 16.2
    model = model_of_one_weight(skipping(momentum=0.5), **options)
    fit(model, [1.0], [StopOnNonfinite()])
    before = weight(model)
    error = stopped(model, [np.inf, 1.0])
    assert (error.epoch, error.batch) == (1, 1)
    path = model.trainable_variables[0].path
    assert error.variables == {path: (0, 1)}
    assert error.loss == pytest.approx(-np.inf)
    assert str(error) == (
        "Gradients were not finite in 1 update, the last one at epoch 1, batch 1, with a loss of "
        f"-inf: `{path}` (0 NaN, 1 infinite). The weights are those before the first of these "
        "updates."
    )
    assert weight(model) == before == -0.5
    assert model.optimizer.skipped == 1


def test_epoch_batch_and_loss_are_those_of_the_update():  # contract 16.2
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    # The loss equals the target even if the gradient, which is the input, is NaN.
    model.compile(skipping(), loss=lambda y, o: (y + keras.ops.where(o == o, o, 0.0))[..., 0])
    x, y = np.zeros((6, 1), "float32"), np.array([[1.0], [2.0], [4.0], [6.0], [8.0], [9.0]])
    x[3] = np.nan
    with pytest.raises(kerasgd.NonfiniteGradientError) as caught:
        model.fit(
            *(x, y, 2),
            initial_epoch=1,
            epochs=2,
            callbacks=[StopOnNonfinite()],
            shuffle=False,
            verbose=0,
        )
    assert (caught.value.epoch, caught.value.batch) == (2, 2)
    assert caught.value.loss == 5.0
    assert ", with a loss of 5: " in str(caught.value)


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_so_many_in_a_row_are_left_alone(options):  # contract 16.2
    model = model_of_one_weight(skipping(), **options)
    error = stopped(model, [np.nan, 1.0, np.nan, np.inf, 1.0], max_in_a_row=2)
    assert error.batch == 4
    assert weight(model) == -0.5
    assert "in 2 updates in a row, the last one at epoch 1, batch 4: " in str(error)
    assert error.variables == {model.trainable_variables[0].path: (0, 1)}
    # Keras sums the losses of an epoch, and this sum is NaN from the first batch on.
    assert math.isnan(error.loss)
    fit(model, [1.0, np.nan, 1.0, np.nan], [StopOnNonfinite(max_in_a_row=2)])
    assert (model.optimizer.skipped, weight(model)) == (5, -1.5)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch's trainer does one batch at a time")
def test_executions_of_several_steps_are_seen_as_one():  # contract 16.2
    model = model_of_one_weight(skipping(), steps_per_execution=2)
    error = stopped(model, [np.nan, 1.0, 1.0, 1.0, np.nan, np.nan])
    assert error.batch == 6
    assert "2 updates in a row, the last one at epoch 1, batches 5 to 6: " in str(error)
    assert (model.optimizer.skipped, weight(model)) == (3, -1.5)


def test_an_update_that_was_skipped_before_stops_nothing():  # contract 16.2, 7
    model = model_of_one_weight(skipping(gradient_accumulation_steps=2))
    assert stopped(model, [1.0, np.nan, 1.0]).batch == 2
    fit(model, [1.0, 1.0], [StopOnNonfinite()])
    assert weight(model) == -0.5


def test_where_averages_are_kept_the_weights_are_those_before_too():  # contract 16.2, 5.4
    model = model_of_one_weight(skipping(use_ema=True, ema_momentum=0.5))
    error = stopped(model, [1.0, 1.0, np.nan])
    assert weight(model) == (-0.75 if BACKEND == "jax" else -1.0)
    assert ("averaged" in str(error)) == (BACKEND == "jax")


OTHERS = {
    "does not skip": (kerasgd.SGD(), r"Call `optimizer.skip_nonfinite\(\)` before training"),
    "of Keras": (keras.optimizers.SGD(), r"Call `optimizer.skip_nonfinite\(\)` before training"),
    "scaled": (kerasgd.LossScaleOptimizer(kerasgd.SGD()), "leave the callback .* out"),
    "scaled by Keras": (
        keras.optimizers.LossScaleOptimizer(kerasgd.SGD().skip_nonfinite()),
        "leave the callback .* out",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_optimizers_that_do_not_count_are_refused(other):  # contract 16.2
    optimizer, words = OTHERS[other]
    model = model_of_one_weight(optimizer)
    with pytest.raises(kerasgd.StateError, match=words):
        fit(model, [1.0], [StopOnNonfinite()])
    assert weight(model) == 0


def test_both_callbacks_together():  # contract 15.4, 16.2
    statistics = Statistics()
    model = model_of_one_weight(tracking().skip_nonfinite())
    with pytest.raises(kerasgd.NonfiniteGradientError):
        fit(model, [1.0, np.nan], [statistics, StopOnNonfinite()])
    assert column(statistics, "nonfinite") == [0, 1]
    assert column(statistics, "updates") == [1, 1]
    assert column(statistics, "update_norm") == [0.5, 0]


@pytest.mark.skipif(BACKEND == "tensorflow", reason="runs all callbacks in the training thread")
@pytest.mark.parametrize("callback", [Statistics(), StopOnNonfinite()])
def test_a_callback_that_keras_runs_in_another_thread_is_refused(callback):  # contract 15.4, 16.2
    model = model_of_one_weight(skipping().track_statistics())
    with pytest.raises(kerasgd.StateError, match=r"in a list: `callbacks=\[callback\]`"):
        fit(model, [1.0, 2.0], callback)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="runs such callbacks in another thread")
def test_a_callback_without_a_list_works_on_tensorflow():  # contract 15.4
    callback = Statistics()
    fit(model_of_one_weight(tracking()), [1.0, 2.0], callback)
    assert column(callback, "gradient_norm") == [1.0, 2.0]


def test_the_error_can_be_pickled():  # contract 16.2
    error = stopped(model_of_one_weight(skipping()), [np.inf])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kerasgd.NonfiniteGradientError
    assert (str(again), repr(vars(again))) == (str(error), repr(vars(error)))
