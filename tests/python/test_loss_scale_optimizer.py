"""The loss-scale optimizer, and its treatment by `compile()` (contract 6)."""

import keras
import numpy as np
import pytest
from bad_inputs import WALK
from conftest import numbers

import kerasgd


def test_skipped_steps_call_the_rate_function():  # contract 2.3
    calls = []
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(lambda: calls.append(1) or 0.1))
    w = keras.Variable([1.0])
    for gradient in (1.0, np.inf, np.nan, 1.0):
        optimizer.apply([keras.ops.convert_to_tensor([gradient])], [w])
    assert len(calls) == 4
    assert int(optimizer.iterations) == 2


def test_exclusions_reach_the_inner_optimizer():  # contract 6.3, D15
    variables = [keras.Variable([2.0], name="kernel"), keras.Variable([2.0], name="bias")]
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5, weight_decay=1))
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([keras.ops.zeros(1)] * 2, variables)
    assert [float(keras.ops.convert_to_numpy(v)[0]) for v in variables] == [1.0, 2.0]


def test_averages_are_reached_through_the_wrapper():  # contract 6.3, 5.4
    w = keras.Variable([0.0])
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(1, use_ema=True, ema_momentum=0.5), 2)
    for _ in range(2):
        optimizer.apply([2 * keras.ops.ones(1)], [w])
    optimizer.swap_ema_weights()
    assert numbers(w) == [-1.5]
    optimizer.swap_ema_weights()
    assert numbers(w) == [-2.0]
    optimizer.finalize_variable_values()
    assert numbers(w) == [-1.5]


@pytest.mark.parametrize("inner", ["sgd", kerasgd.SGD, keras.optimizers.Adam(), *WALK.values()])
def test_only_an_optimizer_of_ours_is_wrapped(inner):  # contract 6.3, 12
    with pytest.raises(kerasgd.ArgumentTypeError) as caught:
        kerasgd.LossScaleOptimizer(inner)
    assert caught.value.argument == "inner_optimizer"


def test_other_arguments_belong_to_the_inner_optimizer():  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError, match="inner optimizer"):
        kerasgd.LossScaleOptimizer(kerasgd.SGD(), momentum=0.9)
    with pytest.raises(kerasgd.UnknownArgumentError, match="`initial_scale`"):
        kerasgd.LossScaleOptimizer(kerasgd.SGD(), intial_scale=2)


def model_in_half_precision(optimizer):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(optimizer, loss="mse")
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def test_compile_warns_when_it_drops_the_factor():  # contract 6.2, D15
    with pytest.warns(kerasgd.KerasgdWarning, match="auto_scale_loss") as caught:
        model = model_in_half_precision(kerasgd.SGD(loss_scale_factor=128))
    assert len([c for c in caught if c.category is kerasgd.KerasgdWarning]) == 1
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    # Without a factor there is no warning.
    model_in_half_precision(kerasgd.SGD())


def test_compile_does_not_wrap_ours_again():  # contract 6.3
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD())
    assert model_in_half_precision(optimizer).optimizer is optimizer


@pytest.mark.parametrize("wrap", [kerasgd.LossScaleOptimizer, None], ids=["ours", "Keras'"])
def test_mixed_precision_trains(wrap):  # contract 6.3, 13.1
    generator = np.random.default_rng(1)
    x = generator.normal(size=(64, 3)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [0.5]], "float32")
    inner = kerasgd.SGD(0.05, momentum=0.9, use_ema=True, gradient_accumulation_steps=2)
    model = model_in_half_precision(wrap(inner) if wrap else inner)
    losses = model.fit(x, y, batch_size=8, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 20
    # 64 steps; at least the second half has a scale that works.
    assert 20 <= int(inner.iterations) <= 32


def test_a_configuration_of_an_older_keras_has_the_arguments_of_every_optimizer():
    # contract 9.3, 9.4a: Keras 3.10 writes them into files, where they mean nothing
    config = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5), 4.0).get_config()
    assert set(config) == {"name", "inner_optimizer", "initial_scale", "dynamic_growth_steps"}
    older = {**config, "use_ema": False, "ema_momentum": 0.99, "clipnorm": None}
    assert kerasgd.LossScaleOptimizer.from_config(older).initial_scale == 4.0
