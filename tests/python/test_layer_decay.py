"""Layer-wise decay of the learning rate, from the last layer to the first (contract 14.10)."""

import doctest
import sys

import keras
import numpy as np
import pytest

import kerasgd
from kerasgd.layer_decay import weights_of_layers


def dense(name, **settings):
    return keras.layers.Dense(2, name=name, use_bias=False, **settings)


def chain(*layers, name=None):
    return keras.Sequential([keras.Input((2,)), *layers], name=name)


def exponents(model, optimizer=None):
    """The depth of the layer of each trainable variable, by its path."""
    optimizer = kerasgd.layer_decay(optimizer or kerasgd.SGD(), model, 0.5)
    rows = kerasgd.variable_groups(optimizer, model)
    return {row["path"]: -np.log2(row["learning_rate_factor"]) for row in rows}


def depths(model):
    """The same, by the name of the layer."""
    return {path.split("/")[-2]: depth for path, depth in exponents(model).items()}


def test_doctests():
    result = doctest.testmod(sys.modules["kerasgd.layer_decay"])
    assert result.attempted > 0
    assert result.failed == 0


def test_the_last_layer_has_depth_0():
    model = chain(
        dense("a"), keras.layers.Dropout(0.5), keras.layers.ReLU(), dense("b"), dense("c")
    )
    assert depths(model) == {"a": 2, "b": 1, "c": 0}


@pytest.mark.parametrize("decay", [0.65, 1, 1e-3])
def test_factors_are_powers_of_the_decay(decay):
    model = chain(dense("a"), dense("b"), dense("c"))
    optimizer = kerasgd.SGD(0.1)
    assert kerasgd.layer_decay(optimizer, model, decay) is optimizer
    assert [g.learning_rate_factor for g in optimizer.groups] == [decay**2, decay, 1.0]


def test_nested_models_are_unrolled_in_the_order_of_calls():
    x = keras.Input((2,))
    early, late = chain(dense("a"), dense("b"), name="z"), chain(dense("d"), dense("e"), name="y")
    y = dense("f")(late(dense("c")(early(x))))
    assert depths(keras.Model(x, y)) == dict(zip("abcdef", range(5, -1, -1), strict=True))


def test_models_in_models_in_models_are_unrolled():
    inner = chain(dense("b"), dense("c"))
    middle = chain(dense("a"), inner, dense("d"))
    assert depths(chain(middle, dense("e"))) == {"a": 4, "b": 3, "c": 2, "d": 1, "e": 0}


def test_a_layer_that_is_used_twice_counts_where_it_is_used_first():
    x = keras.Input((2,))
    shared = dense("shared")
    y = dense("last")(shared(dense("middle")(shared(x))))
    assert depths(keras.Model(x, y)) == {"shared": 2, "middle": 1, "last": 0}
    # also across nested models
    first, second = chain(shared, dense("a")), chain(shared, dense("b"))
    assert depths(chain(first, second)) == {"shared": 2, "a": 1, "b": 0}


def test_branches_come_in_the_order_of_the_model():
    x = keras.Input((2,))
    left, right = dense("left")(x), dense("right")(x)
    model = keras.Model(x, dense("head")(keras.layers.Add()([left, right])))
    assert depths(model) == {"left": 2, "right": 1, "head": 0}


def test_a_layer_made_of_layers_counts_as_one():
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            keras.layers.LSTM(2, return_sequences=True, name="a"),
            keras.layers.Bidirectional(keras.layers.GRU(2), name="b"),
            dense("c"),
        ]
    )
    found = exponents(model)
    assert {depth for path, depth in found.items() if "forward" in path or "backward" in path} == {
        1
    }
    assert sorted(set(found.values())) == [0, 1, 2]


def test_a_model_in_a_wrapper_is_unrolled():
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            keras.layers.TimeDistributed(chain(dense("a"), dense("b"))),
            keras.layers.TimeDistributed(dense("c"), name="wrapped"),
            keras.layers.Flatten(),
            dense("d"),
        ]
    )
    found = exponents(model)
    assert list(found.values()) == [3, 2, 1, 0]


class Own(keras.Model):
    """A subclass with a weight outside its layers."""

    def __init__(self):
        super().__init__()
        self.token = self.add_weight(shape=(2,), name="token")
        self.blocks = [dense("a"), dense("b")]
        self.head = dense("c")

    def call(self, x):
        x = x + self.token
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_a_subclass_has_the_order_in_which_it_makes_layers():
    model = Own()
    model(np.ones((1, 2), "float32"))
    found = exponents(model)
    by_name = {path.split("/")[-2]: d for path, d in found.items() if "kernel" in path}
    assert by_name == {"a": 2, "b": 1, "c": 0}
    # weights outside the layers come before them
    assert [d for path, d in found.items() if path.endswith("token")] == [3]


def test_frozen_layers_count_but_make_no_group():
    layers = [dense("a"), dense("b"), dense("c")]
    model = chain(*layers)
    layers[1].trainable = False
    optimizer = kerasgd.layer_decay(kerasgd.SGD(), model, 0.5)
    assert [group.learning_rate_factor for group in optimizer.groups] == [0.25, 1.0]
    assert depths(model) == {"a": 2, "c": 0}


def test_a_layer_without_trainable_weights_counts():
    normalization = keras.layers.Normalization(mean=None)
    model = chain(dense("a"), normalization, dense("b"))
    assert normalization.weights
    assert not normalization.trainable_weights
    assert depths(model) == {"a": 2, "b": 0}


def test_what_is_frozen_in_a_layer_is_in_no_group():
    normalization = keras.layers.BatchNormalization(name="n")
    model = chain(normalization, dense("a"))
    assert sorted(exponents(model).values()) == [0, 1, 1]  # not the moving averages
    assert list(map(len, weights_of_layers(model))) == [4, 1]


@pytest.mark.parametrize("wrap", [kerasgd.LossScaleOptimizer, keras.optimizers.LossScaleOptimizer])
def test_groups_are_made_below_a_loss_scale(wrap):
    model = chain(dense("a"), dense("b"))
    optimizer = wrap(kerasgd.SGD())
    assert kerasgd.layer_decay(optimizer, model, 0.5) is optimizer
    assert list(exponents(model, wrap(kerasgd.SGD())).values()) == [1, 0]


def test_training_has_the_rates():
    model = chain(dense("a"), dense("b"))
    optimizer = kerasgd.layer_decay(kerasgd.SGD(1.0), model, 0.5)
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    ones = [keras.ops.ones((2, 2))] * 2
    optimizer.apply(ones, model.trainable_variables)
    for variable, old, rate in zip(model.trainable_variables, before, (0.5, 1.0), strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable), old - rate, rtol=1e-6, atol=1e-6
        )


def test_later_groups_win():  # contract 14.4
    model = chain(dense("a"), dense("b"))
    optimizer = kerasgd.layer_decay(kerasgd.SGD(), model, 0.5).set_group(
        "b", learning_rate_factor=10
    )
    rows = kerasgd.variable_groups(optimizer, model)
    assert [row["learning_rate_factor"] for row in rows] == [0.5, 10.0]


@pytest.mark.parametrize("bad", [keras.layers.Dense(1), [keras.Variable(1.0)], None, keras.Model])
def test_what_is_no_model_is_refused(bad):
    with pytest.raises(kerasgd.ArgumentTypeError, match="`model` must be a Keras model") as caught:
        kerasgd.layer_decay(kerasgd.SGD(), bad, 0.5)
    assert caught.value.argument == "model"


def test_an_optimizer_that_is_built_is_refused():
    model, optimizer = chain(dense("a")), kerasgd.SGD()
    optimizer.build(model.trainable_variables)
    with pytest.raises(kerasgd.StateError, match=r"`layer_decay\(\)` before the first step"):
        kerasgd.layer_decay(optimizer, model, 0.5)


def test_an_error_makes_no_group():  # contract 12.7
    optimizer = kerasgd.SGD()
    with pytest.raises(kerasgd.ArgumentValueError):
        kerasgd.layer_decay(optimizer, chain(dense("a")), 1.5)
    assert optimizer.groups == ()
