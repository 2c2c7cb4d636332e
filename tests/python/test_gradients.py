"""The gradients and variables that a step accepts and refuses (contract 1.6, 12, 12.7)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, assert_close, numbers

import kerasgd
from kerasgd.reference import ReferenceSGD

only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="a type of TensorFlow")


def ones(*shape):
    return keras.ops.ones(shape)


def new_weights():
    return keras.Variable([1.0, 2.0], name="w")


def optimizers(**arguments):
    sgd = kerasgd.SGD(0.5, **arguments)
    return [sgd, kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5, **arguments), 1.0)]


# For each wrong call: a function from a variable to the two arguments, the argument that is
# refused, and words of the error.
WRONG = {
    "one variable": (lambda w: ([ones(2)], w), "trainable_variables", "variable into a list"),
    "one gradient": (lambda w: (ones(2), [w]), "grads", "single gradient into a list"),
    "one of each": (lambda w: (ones(2), w), "grads", "single gradient into a list"),
    "an array": (lambda w: (np.ones((1, 2)), [w]), "grads", "single gradient into a list"),
    "no list": (lambda w: (1.0, [w]), "grads", "must be a list with a gradient for each variable"),
    "a dict": (lambda w: ({"w": ones(2)}, [w]), "grads", "a list with a gradient for each"),
    "exchanged": (lambda w: ([w], [ones(2)]), "trainable_variables", "gradients, then variables"),
    "exchanged, tuples": (lambda w: ((w,), (ones(2),)), "trainable_variables", "gradients, then"),
    "exchanged, one each": (lambda w: (w, ones(2)), "grads", "gradients, then variables"),
    "exchanged, one": (lambda w: ([w], ones(2)), "trainable_variables", "gradients, then"),
    "exchanged, arrays": (lambda w: ([w], [np.ones(2)]), "trainable_variables", "gradients, then"),
    "no variables": (lambda w: ([ones(2)], ["w"]), "trainable_variables", "not 'w'"),
    "a word": (lambda w: ([ones(2)], "w"), "trainable_variables", "not 'w'"),
    "no gradient": (lambda w: (["a"], [w]), "grads", "tensors, arrays of numbers, or None"),
}


@pytest.mark.parametrize(("given", "argument", "words"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("is_built", [False, True])
def test_a_wrong_call_is_refused_by_name(given, argument, words, is_built):  # contract 12, 12.7
    for optimizer in optimizers():
        w = new_weights()
        if is_built:
            optimizer.build([w])
        with pytest.raises(kerasgd.errors.ArgumentTypeError) as refusal:
            optimizer.apply(*given(w))
        assert refusal.value.argument == argument
        assert words in str(refusal.value)
        assert numbers(w) == [1.0, 2.0]
        assert int(optimizer.iterations) == 0
        assert optimizer.built is is_built


def test_a_model_is_not_a_list_of_variables():  # contract 12
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for refused in (lambda o: o.apply([ones(1, 1)], model), lambda o: o.build(model)):
        with pytest.raises(kerasgd.ArgumentError, match="Pass its `trainable_variables`"):
            refused(kerasgd.SGD(0.5))


def test_pairs_in_the_wrong_order_are_refused():  # contract 12, 13.1
    for optimizer in optimizers():
        w = new_weights()
        with pytest.raises(kerasgd.ArgumentError, match="The order is gradients, then variables"):
            optimizer.apply_gradients([(w, ones(2))])
        with pytest.raises(kerasgd.ArgumentError, match="`trainable_variables` must be a list of"):
            optimizer.apply_gradients(zip([ones(2)], w, strict=False))
        assert numbers(w) == [1.0, 2.0]
        optimizer.apply_gradients([(ones(2), w)])
        assert numbers(w) == [0.5, 1.5]


def test_build_refuses_a_single_variable():  # contract 12: a JAX variable iterates for ever
    for optimizer in optimizers():
        with pytest.raises(kerasgd.ArgumentError, match="single variable into a list") as refusal:
            optimizer.build(new_weights())
        assert refusal.value.argument == "variables"
        assert not optimizer.built


def test_gradients_of_wrong_shape_build_nothing():  # contract 12.7
    for optimizer in optimizers():
        with pytest.raises(kerasgd.ArgumentValueError, match=r"of shape \(2,\) for `w`"):
            optimizer.apply([ones(3)], [new_weights()])
        assert not optimizer.built


@pytest.mark.parametrize(
    "gradients",
    [
        lambda: (ones(2),),
        lambda: iter([ones(2)]),
        lambda: [[1.0, 1.0]],
        lambda: [(1, 1)],
        lambda: [np.ones(2)],
        lambda: [keras.Variable([1.0, 1.0])],
    ],
)
def test_accepted_kinds_of_gradients(gradients):  # contract 13.1
    for optimizer in optimizers():
        w = new_weights()
        for variables in ([w], (w,), iter([w]), None):
            optimizer.apply(gradients(), variables)
        assert numbers(w) == [-1.0, 0.0]


# TensorFlow's own -------------------------------------------------------------------------------

CONFIGURATIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9, "nesterov": True},
    "clips": {"clipnorm": 0.5},
    "all": {
        "momentum": 0.9,
        "global_clipnorm": 0.5,
        "weight_decay": 0.1,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
}
SHAPE, ROWS, INDICES = (3, 2), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [2, 0, 2]
DENSE = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])


def trained(variable, gradient, arguments, compiled, steps=4):
    import tensorflow as tf

    optimizer = kerasgd.SGD(0.1, **arguments)
    optimizer.build([variable])

    def step():
        optimizer.apply([gradient()], [variable])

    step = tf.function(step, autograph=False) if compiled else step
    for _ in range(steps):
        step()
    return optimizer


def expected(arguments, steps=4):
    reference = ReferenceSGD(learning_rate=0.1, **arguments).build([np.ones(SHAPE)])
    for _ in range(steps):
        reference.step([DENSE])
    return reference.weights


@only_tensorflow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_rows_may_have_parts_that_are_no_tensors(kind, arguments, compiled):  # contract 11.1
    import tensorflow as tf

    indices, shape = kind(INDICES), kind(SHAPE)
    rows = np.array(ROWS, "float32") if kind is np.array else kind(map(kind, ROWS))
    for parts in (
        (tf.constant(ROWS), indices, tf.constant(SHAPE)),
        (tf.constant(ROWS), tf.constant(INDICES), shape),
        (tf.constant(ROWS), indices, None),
        (rows, indices, shape),
    ):
        w = keras.Variable(np.ones(SHAPE, "float32"))
        trained(w, lambda parts=parts: tf.IndexedSlices(*parts), arguments, compiled)
        assert_close([w], expected(arguments), "float32")


@only_tensorflow
def test_rows_of_another_shape_are_refused():  # contract 12.7
    import tensorflow as tf

    rows, indices = tf.constant(ROWS), tf.constant(INDICES)
    for gradient, words in (
        (tf.IndexedSlices(rows, indices, (4, 2)), r"of shape \(3, 2\) for `w`, not \(4, 2\)"),
        (tf.IndexedSlices(rows, indices, np.array((4, 2))), r"not \(4, 2\)"),
        (tf.IndexedSlices(rows, indices, tf.constant((4, 2))), r"not \(4, 2\)"),
        (tf.IndexedSlices(rows[:, :1], indices), r"not \(None, 1\)"),
        (tf.IndexedSlices([[1.0], [2.0], [3.0]], indices, (3, 2)), r"not \(None, 1\)"),
    ):
        w = keras.Variable(np.ones(SHAPE, "float32"), name="w")
        optimizer = kerasgd.SGD(0.1)
        with pytest.raises(kerasgd.ArgumentValueError, match=words):
            optimizer.apply([gradient], [w])
        assert not optimizer.built


@only_tensorflow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
@pytest.mark.parametrize("shape", [None, (None, 2)])
def test_a_variable_without_a_fixed_shape(shape, arguments, compiled):  # contract 13.1, 11.1
    import tensorflow as tf

    for gradient in (
        tf.constant(DENSE, tf.float32),
        tf.IndexedSlices(tf.constant(ROWS), tf.constant(INDICES), tf.constant(SHAPE)),
    ):
        w = tf.Variable(np.ones(SHAPE, "float32"), shape=tf.TensorShape(shape))
        optimizer = trained(w, lambda gradient=gradient: gradient, arguments, compiled)
        assert_close([w], expected(arguments), "float32")
        store = {}
        optimizer.save_own_variables(store)
        optimizer.load_own_variables(store)


@only_tensorflow
@pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
@pytest.mark.parametrize("shape", [None, (None, 2), (None, None)])
def test_a_gradient_without_a_static_shape(shape, arguments):  # contract 13.1
    import tensorflow as tf

    w = keras.Variable(np.ones(SHAPE, "float32"))
    optimizer = kerasgd.SGD(0.1, **arguments)
    optimizer.build([w])

    @tf.function(input_signature=[tf.TensorSpec(shape)], autograph=False)
    def step(gradient):
        optimizer.apply([gradient], [w])

    for _ in range(4):
        step(tf.constant(DENSE, tf.float32))
    assert_close([w], expected(arguments), "float32")


def test_bad_gradients_change_nothing():  # contract 1.6, 12.7
    w = keras.Variable([1.0, 2.0], name="w")
    optimizer = kerasgd.SGD(0.5, momentum=0.5)
    for gradients, words in (
        ([None], "a gradient for at least one variable"),
        ([keras.ops.ones(3)], r"of shape \(2,\) for `w`"),
        ([[1.0]], r"of shape \(2,\) for `w`"),
        ([1.0], r"of shape \(2,\) for `w`"),
        ([keras.ops.ones(2), keras.ops.ones(2)], "one gradient for each variable, 1 in all"),
    ):
        with pytest.raises(kerasgd.ArgumentValueError, match=words):
            optimizer.apply(gradients, [w])
        assert not optimizer.built
    optimizer.apply([], [w])
    assert int(optimizer.iterations) == 0
    assert numbers(w) == [1.0, 2.0]


def test_integer_gradients_are_accepted():  # contract 1.4
    w = keras.Variable([1.0], name="w")
    optimizer = kerasgd.SGD(0.5, loss_scale_factor=4)
    optimizer.apply([keras.ops.convert_to_tensor([2], dtype="int32")], [w])
    assert numbers(w) == [0.75]
