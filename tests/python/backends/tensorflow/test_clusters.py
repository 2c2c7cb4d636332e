"""TensorFlow updates a large variable as one cluster of operations, with the same results."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, assert_close, floatx, numbers

import kerasgd
from kerasgd.reference import ReferenceSGD

if BACKEND != "tensorflow":
    pytest.skip("TensorFlow alone has clusters", allow_module_level=True)

import tensorflow as tf

from kerasgd.backends.tensorflow import choice

ARGUMENTS = {
    "decay": {"weight_decay": 0.1},
    "decay, momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "average": {"use_ema": True, "ema_momentum": 0.9},
    "average from none": {"use_ema": True, "ema_momentum": 0},
    "overwritten": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    "global clip": {"weight_decay": 0.1, "global_clipnorm": 1, "loss_scale_factor": 8},
    "each clip": {"momentum": 0.9, "use_ema": True, "clipnorm": 0.5},
    "accumulation": {"momentum": 0.9, "use_ema": True, "gradient_accumulation_steps": 2},
    "all of them": {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "global_clipnorm": 1,
        "use_ema": True,
        "gradient_accumulation_steps": 2,
    },
}
SHAPES = [(3,), (5, 4)]


@pytest.fixture(autouse=True)
def large_from_four_elements_on(monkeypatch):
    monkeypatch.setattr(choice, "LARGE", 4)


class AtLeast(keras.constraints.Constraint):
    """A constraint in NumPy, which XLA cannot compile, as a user's own constraint may be."""

    def __init__(self, bound):
        self.bound = np.float32(bound)

    def __call__(self, weights):
        return tf.numpy_function(lambda w: np.maximum(w, self.bound), [weights], tf.float32)


def draws(seed):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in SHAPES]


def a_step(optimizer, variables):
    return tf.function(lambda gradients: optimizer.apply(gradients, variables))


def is_cluster(operation):
    return "_XlaMustCompile" in operation.node_def.attr


def number_of_clusters(function, *arguments):
    graph = function.get_concrete_function(*arguments).graph
    return sum(map(is_cluster, graph.get_operations()))


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_and_small_variables_follow_the_reference(arguments, dtype):  # contract 0, 8.2
    with floatx(dtype):
        variables = [keras.Variable(w, dtype=dtype) for w in draws(0)]
        optimizer = kerasgd.SGD(0.1, **arguments)
        step = a_step(optimizer, variables)
        reference = ReferenceSGD(0.1, **arguments).build(draws(0))
        for t in range(1, 7):
            step([tf.constant(g, dtype) for g in draws(t)])
            reference.step(draws(t))
            assert_close(variables, reference.weights, dtype)
            if "use_ema" in arguments and t >= optimizer.window:
                averages = [parameter.average for parameter in optimizer.state().parameters]
                assert_close(averages, reference.averages, dtype)


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_each_configuration_makes_a_cluster(arguments):
    variables = [keras.Variable(w, dtype="float32") for w in draws(0)]
    optimizer = kerasgd.SGD(0.1, **arguments)
    optimizer.build(variables)
    function = a_step(optimizer, variables).get_concrete_function(
        [tf.constant(g, "float32") for g in draws(1)]
    )
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assert any("_XlaMustCompile" in node.attr for node in nodes)


def test_only_updates_of_several_passes_make_a_cluster():
    gradients = [tf.constant(g, "float32") for g in draws(1)]
    for arguments, expected in [({"momentum": 0.9}, 0), ({"weight_decay": 0.1}, 1)]:
        variables = [keras.Variable(w, dtype="float32") for w in draws(0)]
        step = a_step(kerasgd.SGD(0.1, **arguments), variables)
        assert number_of_clusters(step, gradients) == expected


def test_excluded_variables_and_rows_are_in_no_cluster():  # contract 3.2, 11.2
    rows = tf.IndexedSlices(tf.ones((1, 4)), tf.constant([1]), tf.constant([5, 4]))
    for gradient in (rows, tf.ones((5, 4))):
        embedding = keras.Variable(np.ones((5, 4)), dtype="float32", name="embedding")
        optimizer = kerasgd.SGD(0.5, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_names="embedding")
        step = a_step(optimizer, [embedding])
        assert number_of_clusters(step, [gradient]) == 0
        step([gradient])
        assert numbers(embedding)[1] == [0.5] * 4


def test_a_constraint_comes_between_rule_and_average():  # contract 5.3
    w = keras.Variable(np.ones(4), dtype="float32")
    w.constraint = AtLeast(0.75)
    optimizer = kerasgd.SGD(0.5, use_ema=True, ema_momentum=0.5)
    step = a_step(optimizer, [w])
    for _ in range(2):
        step([tf.ones(4)])
    assert numbers(w) == [0.75] * 4
    assert numbers(optimizer.state().parameters[0].average) == [0.75] * 4


def test_a_large_variable_without_a_gradient_is_averaged():  # contract 1.6, 5.1
    v, w = (keras.Variable(np.ones(4), dtype="float32") for _ in range(2))
    optimizer = kerasgd.SGD(0.5, use_ema=True, ema_momentum=0.5)
    step = tf.function(lambda g, h: optimizer.apply([g, h], [v, w]))
    step(tf.ones(4), tf.ones(4))
    v.assign([5.0] * 4)
    with pytest.warns(UserWarning, match="no gradient"):
        step(None, tf.ones(4))
    assert numbers(v) == [5.0] * 4
    assert numbers(optimizer.state().parameters[0].average) == [2.75] * 4
    assert numbers(optimizer.state().parameters[1].average) == [0.25] * 4


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_fit(steps_per_execution):  # contract 5.1, 7.1
    x, y = np.eye(6, dtype="float32"), np.ones((6, 1), "float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((6, 1))])
    arguments = {"weight_decay": 0.1, "use_ema": True, "gradient_accumulation_steps": 3}
    optimizer = kerasgd.SGD(0.25, **arguments)
    model.compile(optimizer, loss="mse", steps_per_execution=steps_per_execution)
    model.fit(x, y, epochs=2, batch_size=1, shuffle=False, verbose=0)
    reference = ReferenceSGD(0.25, **arguments).build([np.zeros((6, 1))])
    for t in range(12):
        i = t % 6
        gradient = np.zeros((6, 1))
        gradient[i] = 2 * (reference.weights[0][i] - 1)
        reference.step([gradient])
    average = numbers(optimizer.state().parameters[0].average)
    np.testing.assert_allclose(average, reference.averages[0], rtol=1e-5)
