"""Sparse gradients give the results of dense ones, also with duplicate rows (contract 11)."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, assert_close
from watched import steps_together

import kerasgd
from kerasgd.reference import ReferenceSGD

if BACKEND != "tensorflow":
    pytest.skip("TensorFlow alone has sparse gradients", allow_module_level=True)

import tensorflow as tf

from kerasgd.backends.tensorflow import choice

ROWS, COLUMNS = 6, 3
ARGUMENTS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"weight_decay": 0.1},
    "average": {"use_ema": True, "ema_momentum": 0.9},
    "clipvalue": {"momentum": 0.9, "clipvalue": 0.5},
    "clipvalue, no momentum": {"clipvalue": 0.5},
    "clipnorm": {"clipnorm": 0.5, "loss_scale_factor": 8},
    "global clip": {"momentum": 0.9, "global_clipnorm": 0.5},
    "accumulation": {"momentum": 0.9, "gradient_accumulation_steps": 2},
    "all of them": {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "global_clipnorm": 1,
        "use_ema": True,
        "loss_scale_factor": 8,
    },
}
MODES = {
    "eager": lambda step: step,
    "graph": tf.function,
    "xla": tf.function(jit_compile=True),
}


@pytest.fixture
def is_large(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(choice, "LARGE", ROWS * COLUMNS)
    return request.param


# Momentum chooses by size, and so does a gradient that becomes dense; other arguments do not.
CHOOSE_BY_SIZE = {"momentum", "weight_decay", "use_ema", "gradient_accumulation_steps"}


def in_all_sizes(cases):
    """Give a test the arguments of the cases, with each size that matters for them."""
    sized = [
        pytest.param(arguments, is_large, id=f"{name}-{'large' if is_large else 'small'}")
        for name, arguments in cases.items()
        for is_large in ([True, False] if CHOOSE_BY_SIZE & arguments.keys() else [False])
    ]
    return pytest.mark.parametrize(("arguments", "is_large"), sized, indirect=["is_large"])


WITH_OR_WITHOUT_MOMENTUM = {"plain": {}, "momentum": {"momentum": 0.9}}
in_both_sizes = pytest.mark.parametrize(
    "is_large", [True, False], ids=["large", "small"], indirect=True
)


def draws(seed, terms=8):
    """Terms and their rows, some of which occur several times."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(terms, COLUMNS)).astype("float32")
    return values, generator.integers(ROWS, size=terms)


def dense(values, indices):
    result = np.zeros((ROWS, COLUMNS))
    np.add.at(result, indices, values.astype("float64"))
    return result


def start():
    return np.random.default_rng(9).normal(size=(ROWS, COLUMNS)).astype("float32")


def run(mode, seeds, **arguments):
    variable = keras.Variable(start())
    optimizer = kerasgd.SGD(0.1, **arguments)
    optimizer.build([variable])
    step = MODES[mode](lambda values, indices: optimizer.apply([sparse(values, indices)]))
    for seed in seeds:
        step(*map(tf.constant, draws(seed)))
    return optimizer, variable


def sparse(values, indices):
    values, indices = tf.convert_to_tensor(values), tf.convert_to_tensor(indices)
    return tf.IndexedSlices(values, indices, tf.constant([ROWS, COLUMNS]))


@pytest.mark.parametrize("mode", MODES)
@in_all_sizes(ARGUMENTS)
def test_rows_follow_the_reference(mode, arguments, is_large):  # contract 11.1
    optimizer, variable = run(mode, range(1, 5), **arguments)
    reference = ReferenceSGD(0.1, **arguments).build([start()])
    for seed in range(1, 5):
        reference.step([dense(*draws(seed))])
    assert_close([variable], reference.weights, "float32")
    if "use_ema" in arguments:
        assert_close([optimizer.state().parameters[0].average], reference.averages, "float32")


CLIPS = ["clipvalue", "clipnorm", "global_clipnorm"]


@pytest.mark.parametrize("mode", MODES)
@in_all_sizes(WITH_OR_WITHOUT_MOMENTUM)
def test_rows_below_the_clip_keep_every_bit(mode, arguments, is_large):  # contract 4.4
    plain = run(mode, range(1, 5), **arguments)[1]
    pairs = [new_pair(**arguments, **{clip: 1e6}) for clip in CLIPS]
    step = steps_together(mode, pairs)
    for seed in range(1, 5):
        step([[sparse(*draws(seed))]] * len(pairs))
    for clip, (_, [clipped]) in zip(CLIPS, pairs, strict=True):
        np.testing.assert_array_equal(plain, clipped, clip)


def new_pair(**arguments):
    """An optimizer and its variable."""
    return kerasgd.SGD(0.1, **arguments), [keras.Variable(start())]


@pytest.mark.parametrize("mode", MODES)
@in_all_sizes(WITH_OR_WITHOUT_MOMENTUM)
def test_rows_may_be_constants(mode, arguments, is_large):  # contract 11.1
    values, indices = np.full((3, COLUMNS), 1.0, "float32"), [1, 1, 2]
    gradient = sparse(values, indices)
    pairs = [new_pair(**arguments, **{clip: 0.5}) for clip in CLIPS]
    step = steps_together("eager", pairs)
    MODES[mode](lambda: step([[gradient]] * len(pairs)))()
    for clip, (_, variables) in zip(CLIPS, pairs, strict=True):
        reference = ReferenceSGD(0.1, **arguments, **{clip: 0.5}).build([start()])
        reference.step([dense(values, indices)])
        assert_close(variables, reference.weights, "float32")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arguments", [{}, {"clipnorm": 1e-3}, {"clipvalue": 1e-3}], ids=str)
def test_terms_that_cancel_leave_no_rounding_error(mode, arguments):  # contract 4.2, 11.1
    variable = keras.Variable(np.full((ROWS, COLUMNS), 0.01), dtype="float32")
    optimizer = kerasgd.SGD(1.0, **arguments)
    optimizer.build([variable])
    terms = np.array([[1e3], [-1e3], [1e-4]]) * np.ones(COLUMNS)
    gradient = sparse(terms.astype("float32"), [2, 2, 2])
    MODES[mode](lambda: optimizer.apply([gradient]))()
    np.testing.assert_allclose(variable[2], [0.0099] * COLUMNS, 1e-6)


@in_all_sizes({**WITH_OR_WITHOUT_MOMENTUM, "clipvalue": {"clipvalue": 1e6}})
def test_training_is_reproducible_bit_for_bit(arguments, is_large):  # contract 9.1
    def trained():
        variable = keras.Variable(np.zeros((ROWS, 64)), dtype="float32")
        optimizer = kerasgd.SGD(0.1, **arguments)
        optimizer.build([variable])
        generator = np.random.default_rng(1)
        values = generator.normal(size=(20_000, 64)).astype("float32")
        gradient = tf.IndexedSlices(
            tf.constant(values), tf.constant(generator.integers(ROWS, size=20_000))
        )
        step = tf.function(lambda: optimizer.apply([gradient]))
        for _ in range(20):
            step()
        return variable.numpy()

    first = trained()
    for _ in range(4):
        np.testing.assert_array_equal(trained(), first)


@in_both_sizes
@pytest.mark.parametrize("mode", MODES)
def test_rows_of_a_variable_that_does_not_decay(mode, is_large):  # contract 3.2
    variable = keras.Variable(start(), name="embedding")
    optimizer = kerasgd.SGD(0.1, momentum=0.9, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["embedding"])
    optimizer.build([variable])
    reference = ReferenceSGD(0.1, momentum=0.9).build([start()])
    step = MODES[mode](lambda values, indices: optimizer.apply([sparse(values, indices)]))
    for seed in (1, 2):
        step(*map(tf.constant, draws(seed)))
        reference.step([dense(*draws(seed))])
    assert_close([variable], reference.weights, "float32")


@pytest.mark.parametrize("mode", MODES)
@in_all_sizes(WITH_OR_WITHOUT_MOMENTUM)
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_a_nonfinite_norm_makes_all_rows_nan(mode, arguments, is_large, clip):  # contract 4.5
    variable = keras.Variable(start())
    optimizer = kerasgd.SGD(0.1, **arguments, **{clip: 1.0})
    optimizer.build([variable])
    gradient = sparse(np.full((1, COLUMNS), np.inf, "float32"), [2])
    MODES[mode](lambda: optimizer.apply([gradient]))()
    assert np.isnan(variable.numpy()).all()


@pytest.mark.parametrize("mode", MODES)
@in_all_sizes(WITH_OR_WITHOUT_MOMENTUM)
def test_clipvalue_keeps_nan_and_clips_infinity(mode, arguments, is_large):  # contract 4.5
    variable = keras.Variable(np.zeros((ROWS, COLUMNS)), dtype="float32")
    optimizer = kerasgd.SGD(1.0, **arguments, clipvalue=0.5)
    optimizer.build([variable])
    gradient = sparse(np.array([[np.inf, np.nan, 0.25]], "float32"), [2])
    MODES[mode](lambda: optimizer.apply([gradient]))()
    np.testing.assert_array_equal(variable[2], [-0.5, np.nan, -0.25])
    assert not np.delete(variable.numpy(), 2, axis=0).any()


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_weights_get_the_sum_of_duplicate_rows(mode):  # contract 8.2, 11.1
    # Added to 1 in bfloat16, each term alone is lost, but their sum is not.
    variable = keras.Variable(np.ones((ROWS, COLUMNS)), dtype="bfloat16")
    optimizer = kerasgd.SGD(1.0)
    optimizer.build([variable])
    gradient = sparse(np.full((64, COLUMNS), 2.0**-10, "float32"), [2] * 64)
    MODES[mode](lambda: optimizer.apply([gradient]))()
    found = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
    np.testing.assert_array_equal(found, dense(np.full((1, 3), -0.0625), [2]) + 1)


@in_both_sizes
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_fit_of_an_embedding(jit_compile, steps_per_execution, is_large):  # contract 11.1
    # The last batch is smaller.
    words = np.random.default_rng(5).integers(ROWS, size=(7, 2))
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((2,), dtype="int32"), layers.Embedding(ROWS, COLUMNS), layers.Flatten()]
    )
    model.set_weights([start()])
    model.compile(
        kerasgd.SGD(0.1, momentum=0.9),
        loss=lambda y, output: keras.ops.sum(output, -1),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    model.fit(words, words, batch_size=3, epochs=2, shuffle=False, verbose=0)
    reference = ReferenceSGD(0.1, momentum=0.9).build([start()])
    for batch in [words[:3], words[3:6], words[6:]] * 2:
        terms = np.full((batch.size, COLUMNS), 1 / len(batch))
        reference.step([dense(terms, batch.reshape(-1))])
    assert_close(model.trainable_variables, reference.weights, "float32")


def test_the_number_of_rows_may_change(monkeypatch):  # contract 11.1
    monkeypatch.setattr(choice, "LARGE", 1)
    variable = keras.Variable(start())
    optimizer = kerasgd.SGD(0.1, momentum=0.9)
    optimizer.build([variable])
    reference = ReferenceSGD(0.1, momentum=0.9).build([start()])
    values, indices = tf.TensorSpec((None, COLUMNS)), tf.TensorSpec((None,), "int64")

    @tf.function(input_signature=[values, indices])
    def step(values, indices):
        optimizer.apply([sparse(values, indices)])

    for seed, terms in enumerate([8, 1, 5, 0], start=1):
        step(*map(tf.constant, draws(seed, terms)))
        reference.step([dense(*draws(seed, terms))])
    assert step.experimental_get_tracing_count() == 1
    assert_close([variable], reference.weights, "float32")


def test_no_dense_gradient_is_made_of_the_rows_of_a_large_variable(monkeypatch):
    monkeypatch.setattr(choice, "LARGE", 1)
    variable = keras.Variable(start())
    optimizer = kerasgd.SGD(0.1, momentum=0.9)
    optimizer.build([variable])
    step = tf.function(lambda: optimizer.apply([sparse(*draws(1))]))
    operations = {o.type for o in step.get_concrete_function().graph.get_operations()}
    assert "ResourceScatterSub" in operations
    assert "ResourceApplyKerasMomentum" not in operations
