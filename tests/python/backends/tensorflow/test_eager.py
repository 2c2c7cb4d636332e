"""Eager steps on TensorFlow become one compiled function, with the results of eager code."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, numbers

import kerasgd

if BACKEND != "tensorflow":
    pytest.skip("TensorFlow's eager code is compiled", allow_module_level=True)

import tensorflow as tf

from kerasgd.backends.tensorflow import eager


def compiled_steps(optimizer):
    """The compiled steps that the optimizer keeps."""
    return [
        kept for kept in optimizer.state().memo.values() if isinstance(kept, eager.CompiledStep)
    ]


def test_steps_share_one_function():
    rates = iter([0.5, 0.25, 0.125])
    w = keras.Variable([1.0])
    optimizer = kerasgd.SGD(lambda: next(rates))
    for gradient in ([1.0], [2.0], [4.0]):
        optimizer.apply([tf.constant(gradient)], [w])
    assert numbers(w) == [-0.5]
    (compiled,) = compiled_steps(optimizer)
    assert compiled.function.experimental_get_tracing_count() == 1


def test_the_first_steps_are_plain(monkeypatch):
    monkeypatch.setattr(eager, "PLAIN_STEPS", 2)
    w = keras.Variable([1.0])
    optimizer = kerasgd.SGD(0.5)
    counts = []
    for _ in range(4):
        optimizer.apply([tf.ones(1)], [w])
        (compiled,) = compiled_steps(optimizer)
        counts.append(compiled.function.experimental_get_tracing_count())
    assert counts == [0, 0, 1, 1]
    assert numbers(w) == [-1.0]


def trained(steps, restarts):
    """The weights after `steps` steps, restarted from saved state before those in `restarts`."""
    generator = np.random.default_rng(1)
    # Large enough for a cluster, which rounds differently from plain operations.
    gradients = generator.standard_normal((steps, 2**16), dtype="float32")
    w = keras.Variable(generator.standard_normal(2**16, dtype="float32"))
    arguments = {"momentum": 0.9, "weight_decay": 0.1, "global_clipnorm": 1, "use_ema": True}
    optimizer = kerasgd.SGD(0.1, **arguments)
    for step in range(steps):
        if step in restarts:
            store = {}
            optimizer.save_own_variables(store)
            optimizer = kerasgd.SGD(0.1, **arguments)
            optimizer.build([w])
            optimizer.load_own_variables(store)
        optimizer.apply([tf.constant(gradients[step])], [w])
    return keras.ops.convert_to_numpy(w)


def test_a_training_that_is_continued_compiles_at_the_same_step(monkeypatch):  # contract 9.1
    monkeypatch.setattr(eager, "PLAIN_STEPS", 3)
    uninterrupted = trained(6, restarts=[])
    np.testing.assert_array_equal(trained(6, restarts=[1, 2, 5]), uninterrupted)
    monkeypatch.setattr(eager, "PLAIN_STEPS", 6)
    # Otherwise the bits would not show which steps were compiled.
    assert np.any(trained(6, restarts=[]) != uninterrupted)


@pytest.mark.filterwarnings("ignore:`loss_scale_factor = ")
def test_the_loss_scale_may_change_between_steps():  # contract 6.2, 13.3
    w = keras.Variable([1.0])
    optimizer = kerasgd.SGD(0.5)
    for factor, expected in [(None, 0.5), (2.0, 0.25), (4.0, 0.125), (None, -0.375)]:
        optimizer.loss_scale_factor = factor
        optimizer.apply([tf.ones(1)], [w])
        assert numbers(w) == [expected]


def test_a_gradient_may_be_missing_at_some_steps():  # contract 1.6
    v, w = keras.Variable([1.0]), keras.Variable([1.0])
    optimizer = kerasgd.SGD(0.5)
    optimizer.apply([tf.ones(1), tf.ones(1)], [v, w])
    with pytest.warns(UserWarning, match="no gradient"):
        optimizer.apply([None, tf.ones(1)], [v, w])
    optimizer.apply([tf.ones(1), tf.ones(1)], [v, w])
    assert numbers(v) == [0.0]
    assert numbers(w) == [-0.5]


@pytest.mark.filterwarnings("ignore:There is no gradient")
def test_the_number_of_compiled_patterns_is_limited(monkeypatch):
    monkeypatch.setattr(eager, "MOST_PATTERNS", 2)
    variables = [keras.Variable([1.0]) for _ in range(3)]
    optimizer = kerasgd.SGD(0.5)
    for _ in range(2):
        for present in range(3):
            optimizer.apply([tf.ones(1) if i == present else None for i in range(3)], variables)
    assert [numbers(v) for v in variables] == [[0.0]] * 3
    (compiled,) = compiled_steps(optimizer)
    assert compiled.function.experimental_get_tracing_count() == 2


def test_sparse_gradients_may_have_other_rows_at_each_step():  # contract 11.2
    w = keras.Variable(np.ones((4, 1)))
    optimizer = kerasgd.SGD(0.5)
    for rows in ([0], [1, 2], [2, 2, 3]):
        ones = tf.ones((len(rows), 1))
        optimizer.apply([tf.IndexedSlices(ones, tf.constant(rows), (4, 1))], [w])
    assert numbers(w) == [[0.5], [0.5], [-0.5], [0.5]]


def test_a_constraint_of_the_user_runs_at_each_step():
    seen = []

    class BelowHalf(keras.constraints.Constraint):
        def __call__(self, weights):
            seen.append(numbers(weights))
            return keras.ops.minimum(weights, 0.5)

    w = keras.Variable([1.0])
    w.constraint = BelowHalf()
    optimizer = kerasgd.SGD(0.25)
    for _ in range(2):
        optimizer.apply([tf.ones(1)], [w])
    assert seen == [[0.75], [0.25]]


def test_a_tape_does_not_see_the_step():
    w = keras.Variable([4.0])
    optimizer = kerasgd.SGD(0.5, weight_decay=0.5)  # which reads the weights
    for expected in (2.5, 1.375):
        with tf.GradientTape() as tape:
            optimizer.apply([tf.ones(1)], [w])
        assert tape.watched_variables() == ()
        assert numbers(w) == [expected]


def test_steps_work_without_the_private_call(monkeypatch):
    monkeypatch.setattr(eager, "PRIVATE_CALL", "there is no such method")
    v, w = keras.Variable([1.0]), keras.Variable([1.0])
    optimizer = kerasgd.SGD(0.5, momentum=0.5)
    for gradients in ([tf.ones(1), tf.ones(1)], [tf.ones(1), tf.zeros(1)]):
        optimizer.apply(gradients, [v, w])
    assert numbers(v) == [-0.25]
    assert numbers(w) == [0.25]
    assert len(compiled_steps(optimizer)) == 1


def test_run_functions_eagerly_is_respected():
    tf.config.run_functions_eagerly(True)
    try:
        w = keras.Variable([1.0])
        optimizer = kerasgd.SGD(0.5)
        optimizer.apply([tf.ones(1)], [w])
    finally:
        tf.config.run_functions_eagerly(False)
    assert numbers(w) == [0.5]
    assert compiled_steps(optimizer) == []
