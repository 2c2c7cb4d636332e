"""Fixed and dynamic loss scales (contract 6)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, numbers

import kerasgd
from kerasgd.reference import ReferenceLossScale, ReferenceSGD

CONFIGURATIONS = {
    "plain": {},
    "everything": {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "global_clipnorm": 0.5,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
    "clipvalue": {"clipvalue": 0.3, "use_ema": True},
}
FIRST = [np.array([1.0, -2.0, 0.5]), np.array([[0.25], [4.0]])]


def gradients(steps):
    """Scaled as the reference's scale says; two steps are not finite."""
    generator = np.random.default_rng(3)
    for t in range(steps):
        drawn = [generator.normal(size=w.shape).astype("float32") for w in FIRST]
        if t in (2, 7):
            drawn[1][0] = np.inf if t == 2 else np.nan
        yield drawn


def eagerly(optimizer, variables):
    return lambda grads: optimizer.apply(grads, variables)


def compiled(optimizer, variables):
    optimizer.build(variables)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda grads: optimizer.apply(grads, variables))
    apply = optimizer.stateless_apply
    if BACKEND == "jax":
        import jax

        apply = jax.jit(apply)

    def step(grads):
        own, weights = ([v.value for v in vs] for vs in (optimizer.variables, variables))
        weights, own = apply(own, grads, weights)
        for variable, value in zip(
            [*variables, *optimizer.variables], [*weights, *own], strict=True
        ):
            variable.assign(value)

    return step


@pytest.mark.parametrize("way", [eagerly, compiled])
@pytest.mark.parametrize("key", CONFIGURATIONS)
def test_dynamic_scale_follows_the_reference(key, way):  # contract 6.3
    arguments = {"learning_rate": 0.1, **CONFIGURATIONS[key]}
    reference = ReferenceLossScale(ReferenceSGD(**arguments).build(FIRST), 8.0, 3)
    variables = [keras.Variable(w, dtype="float32") for w in FIRST]
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(**arguments), 8.0, 3)
    step = way(optimizer, variables)
    for drawn in gradients(12):
        scale = reference.scale
        step([keras.ops.convert_to_tensor(scale * g) for g in drawn])
        reference.step([scale * g.astype("float64") for g in drawn])
        assert float(keras.ops.convert_to_numpy(optimizer.scale_loss(1.0))) == reference.scale
        for variable, expected in zip(variables, reference.inner.weights, strict=True):
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(variable), expected, rtol=0, atol=2e-6 * 4
            )
        assert int(optimizer.iterations) == reference.inner.iterations


def test_skipped_steps_call_the_rate_function():  # contract 2.3
    calls = []
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(lambda: calls.append(1) or 0.1))
    w = keras.Variable([1.0])
    for gradient in (1.0, np.inf, np.nan, 1.0):
        optimizer.apply([keras.ops.convert_to_tensor([gradient])], [w])
    assert len(calls) == 4
    assert int(optimizer.iterations) == 2


def test_the_scale_never_becomes_zero_or_infinite():  # contract 6.3
    w = keras.Variable([1.0])
    for first, gradient in ((2.0**-125, np.inf), (2.0**125, 0.0)):
        optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(), first, 1)
        for _ in range(4):
            optimizer.apply([keras.ops.convert_to_tensor([gradient], "float32")], [w])
        assert 0 < float(keras.ops.convert_to_numpy(optimizer.dynamic_scale)) < np.inf
        optimizer.apply([keras.ops.zeros(1)], [w])
        assert numbers(w) == [1.0]


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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sgd",), "inner_optimizer"),
        ((kerasgd.SGD,), "inner_optimizer"),
        ((keras.optimizers.Adam(),), "inner_optimizer"),
        ((kerasgd.SGD(), 0), "initial_scale"),
        ((kerasgd.SGD(), float("inf")), "initial_scale"),
        ((kerasgd.SGD(), "1"), "initial_scale"),
        ((kerasgd.SGD(), 2, 0), "dynamic_growth_steps"),
        ((kerasgd.SGD(), 2, 1.5), "dynamic_growth_steps"),
        ((kerasgd.SGD(), 2, True), "dynamic_growth_steps"),
        ((kerasgd.SGD(), 2, 2, "a/b"), "name"),
    ],
)
def test_arguments_are_checked(arguments, named):  # contract 12
    with pytest.raises(kerasgd.ArgumentError) as caught:
        kerasgd.LossScaleOptimizer(*arguments)
    assert caught.value.argument == named


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


def test_compile_tells_when_it_drops_the_factor():  # contract 6.2, D15
    with pytest.warns(kerasgd.KerasgdWarning, match="auto_scale_loss") as caught:
        model = model_in_half_precision(kerasgd.SGD(loss_scale_factor=128))
    assert len([c for c in caught if c.category is kerasgd.KerasgdWarning]) == 1
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    # Without a factor there is nothing to tell.
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
    # 64 steps, the last half of them with a scale found by then.
    assert 20 <= int(inner.iterations) <= 32
