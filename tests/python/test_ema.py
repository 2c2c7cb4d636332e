"""Averages are swapped with the weights, and written into them at the end (contract 5.4, 5.6)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, model_of_one_weight, numbers, weight

import kerasgd


def trained(dtype="float32", steps=3, **arguments):
    variables = [keras.Variable([1.0, 2.0], dtype=dtype, name="w")]
    optimizer = kerasgd.SGD(0.3, use_ema=True, ema_momentum=0.5, **arguments)
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply([keras.ops.ones(2, dtype)], variables)
    return optimizer, variables


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_swapping_twice_changes_nothing(dtype):  # contract 5.6
    optimizer, (w,) = trained(dtype)
    average = optimizer.state().parameters[0].average
    before = numbers(w), numbers(average)
    optimizer.swap_ema_weights()
    assert numbers(average) == before[0]
    np.testing.assert_allclose(numbers(w), before[1], rtol=2.0**-8)
    optimizer.swap_ema_weights()
    assert (numbers(w), numbers(average)) == before


def test_swapped_weights_are_the_averages():  # contract 5.1: .5*(.5*(w1)+.5*w2)+.5*w3
    optimizer, (w,) = trained()
    first, second, third = (np.array([1.0, 2.0]) - 0.3 * k for k in (1, 2, 3))
    optimizer.swap_ema_weights()
    np.testing.assert_allclose(numbers(w), (first / 2 + second / 2) / 2 + third / 2, rtol=1e-6)


def test_before_the_first_update_there_is_nothing_to_swap():  # contract 5.4
    optimizer, (w,) = trained(steps=1, gradient_accumulation_steps=2)
    optimizer.swap_ema_weights()
    optimizer.finalize_variable_values()
    assert numbers(w) == [1.0, 2.0]
    kerasgd.SGD(use_ema=True).finalize_variable_values()
    kerasgd.SGD(use_ema=True).swap_ema_weights()


def test_a_swapped_optimizer_is_neither_trained_nor_saved():  # contract 5.6
    optimizer, (w,) = trained()
    optimizer.swap_ema_weights()
    before = numbers(w)
    with pytest.raises(kerasgd.StateError, match="are swapped"):
        optimizer.apply([keras.ops.ones(2)], [w])
    with pytest.raises(kerasgd.StateError, match="are swapped"):
        optimizer.save_own_variables({})
    with pytest.raises(kerasgd.StateError, match="are swapped"):
        optimizer.finalize_variable_values()
    assert numbers(w) == before


def test_the_keras_callback_swaps():  # contract 5.6
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(1).normal(size=(32, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(0.1, use_ema=True, ema_momentum=0.9), loss="mse")
    model.optimizer.build(model.trainable_variables)
    swap = keras.callbacks.SwapEMAWeights()
    before = model.get_weights()
    model.evaluate(x, x[:, :1], callbacks=[swap], verbose=0)
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-6)
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    raw = [numbers(parameter.variable) for parameter in model.optimizer.state().parameters]
    model.evaluate(x, x[:, :1], callbacks=[swap], verbose=0)
    for parameter, weights in zip(model.optimizer.state().parameters, raw, strict=True):
        np.testing.assert_allclose(numbers(parameter.variable), weights, rtol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the callback works on other backends")
def test_the_keras_callback_is_refused_where_it_cannot_swap():  # contract 5.6
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, dtype="float16")])
    model.compile(kerasgd.SGD(0.1, use_ema=True), loss="mse", auto_scale_loss=False)
    x = np.ones((4, 3), "float16")
    model.fit(x, x[:, :1], verbose=0)
    with pytest.raises(kerasgd.StateError, match=r"Call `swap_ema_weights\(\)`"):
        model.evaluate(x, x[:, :1], callbacks=[keras.callbacks.SwapEMAWeights()], verbose=0)


def test_unknown_variables_are_left_alone_with_one_warning():  # contract 5.4
    optimizer, (w,) = trained()
    other = keras.Variable([7.0], name="other")
    average = numbers(optimizer.state().parameters[0].average)
    with pytest.warns(kerasgd.KerasgdWarning, match="`other`") as caught:
        optimizer.finalize_variable_values([other, w])
    assert len([c for c in caught if c.category is kerasgd.KerasgdWarning]) == 1
    assert (numbers(w), numbers(other)) == (average, [7.0])
    with pytest.raises(kerasgd.StateError, match="`other`"):
        optimizer.finalize_variable_values([other])


@pytest.mark.parametrize("wrong", [3, "w", {}, [3], ["w"], [np.ones(1)], keras.Variable([1.0])])
@pytest.mark.parametrize("method", ["finalize_variable_values", "exclude_from_weight_decay"])
def test_variables_are_given_as_a_list(method, wrong):  # contract 12
    with pytest.raises(kerasgd.ArgumentTypeError, match="`var_list` must be a list of variables"):
        getattr(kerasgd.SGD(use_ema=True), method)(wrong)


def test_fit_continues_after_eager_steps():  # contract 5.2, 5.4
    ones = np.ones((1, 1))
    optimizer = kerasgd.SGD(0.5, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1)
    model = model_of_one_weight(optimizer)
    model.set_weights([ones])
    optimizer.apply([keras.ops.ones((1, 1))], model.trainable_variables)
    optimizer.finalize_variable_values()
    model.fit(ones, ones, verbose=0)
    # 1 - .5 = .5 is weight and average; then (.5 + (.5 - .5)) / 2.
    assert weight(model) == 0.25


@pytest.mark.parametrize("swaps", [True, False], ids=["with SwapEMAWeights", "without"])
def test_early_stopping_restores_averages_if_they_are_swapped_in(swaps):  # D18
    """Gradient and rate are 1: weights are -1, -2, ..., and averages move halfway to them."""
    model = model_of_one_weight(kerasgd.SGD(1, use_ema=True, ema_momentum=0.5))
    stopping = keras.callbacks.EarlyStopping(
        monitor="loss", mode="max", patience=1, restore_best_weights=True, verbose=0
    )
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] * swaps + [stopping]
    ones = np.ones((2, 1))
    # The loss falls, so with "max" the first epoch, of two steps, is the best.
    model.fit(ones, ones, batch_size=1, epochs=5, callbacks=callbacks, verbose=0)
    best = -1.5 if swaps else -2
    assert weight(model) == pytest.approx(best, rel=1e-5)


def model_built_by_its_first_step(**arguments):
    """A model without `Input`, whose weights and averages TensorFlow creates while tracing."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([layer])
    model.compile(kerasgd.SGD(0.3, use_ema=True, ema_momentum=0.5, **arguments), "mse")
    return model


def test_a_model_built_by_its_first_step_is_averaged():  # contract 5.1
    model = model_built_by_its_first_step()
    model.fit(np.ones((2, 1)), np.zeros((2, 1)), batch_size=1, verbose=0)
    # w <- w - 0.3 * 2 * w, twice; then fit() writes the average, half of each.
    assert weight(model) == pytest.approx(0.4 / 2 + 0.16 / 2, rel=1e-6)


def test_a_model_built_by_its_first_step_swaps_nothing_before_an_update():  # contract 5.4, 5.6
    model = model_built_by_its_first_step(gradient_accumulation_steps=2)
    model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    callback = keras.callbacks.SwapEMAWeights()
    callback.set_model(model)
    callback.on_test_begin()
    assert weight(model) == 1.0
    callback.on_test_end()
    assert weight(model) == 1.0
