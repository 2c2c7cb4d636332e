"""Interrupts of JAX's `fit()`: the user sees the interrupt, and reading lost state is an error."""

import copy
import pickle

import keras
import numpy as np
import pytest
from conftest import BACKEND, model_of_one_weight, weight

import kerasgd
from kerasgd.files import snapshot
from kerasgd.keras_internals import is_taken_away
from kerasgd.r import inspection

ONE = np.ones((1, 1), "float32")
STEPS_PER_EXECUTION = 8
pytestmark = [
    pytest.mark.skipif(BACKEND != "jax", reason="JAX's trainer takes the values away"),
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed"),
]


def batches(end):
    """`end` batches of one row, then Control-C."""
    for _ in range(end):
        yield ONE, ONE
    raise KeyboardInterrupt


def new_model(scaled=False):
    optimizer = kerasgd.SGD(1.0, use_ema=True, ema_momentum=0.5)
    if scaled:
        optimizer = kerasgd.LossScaleOptimizer(optimizer, 4.0, name="SGD")
    return model_of_one_weight(optimizer, steps_per_execution=STEPS_PER_EXECUTION)


def interrupt(model):
    """Interrupt the training between two steps of one execution.

    Weights and state were donated to the first of them. (Batches are fetched ahead of their steps.)
    """
    with pytest.raises(KeyboardInterrupt):
        model.fit(batches(2 * STEPS_PER_EXECUTION - 2), steps_per_epoch=100, verbose=0)
    return model


@pytest.mark.parametrize("scaled", [False, True])
def test_an_interrupt_is_not_replaced_by_another_error(scaled):  # contract 5.4
    model = interrupt(new_model(scaled))
    model.optimizer.finalize_variable_values()


READERS = {
    "save_own_variables": lambda optimizer: optimizer.save_own_variables({}),
    "pickle": pickle.dumps,
    "deepcopy": copy.deepcopy,
    "snapshot": lambda optimizer: snapshot.save(optimizer, "never-written.npz"),
    "get_config": lambda optimizer: optimizer.get_config(),
    "print": inspection.description,
    "compare": lambda optimizer: inspection.differing_state(optimizer, optimizer, 0.0),
    "swap_ema_weights": lambda optimizer: optimizer.swap_ema_weights(),
}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_lost_state_is_named(reader, scaled):  # contract 5.4, 9.4
    model = interrupt(new_model(scaled))
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not is_taken_away(inner._iterations):
        pytest.skip(f"Keras {keras.__version__} restores the state after an interrupt")
    with pytest.raises(kerasgd.StateError, match="The state of `SGD` is unavailable"):
        READERS[reader](model.optimizer)


class Reads(keras.callbacks.Callback):
    """Calls a function after a batch, without `self.model`, which would restore the state."""

    def __init__(self, function):
        super().__init__()
        self.function, self.errors = function, []

    def on_train_batch_end(self, batch, logs=None):
        try:
            self.function()
        except kerasgd.StateError as error:
            self.errors.append(str(error))


@pytest.mark.parametrize("reader", READERS)
def test_state_held_by_the_trainer_is_not_read_as_old_values(reader):  # contract 5.4, 9.4
    optimizer = kerasgd.SGD(1.0, use_ema=True)
    callback = Reads(lambda: READERS[reader](optimizer))
    model = model_of_one_weight(optimizer)
    model.fit(ONE, ONE, epochs=2, callbacks=[callback], verbose=0)
    assert len(callback.errors) == 2
    assert all("`self.model.optimizer`, which restores the state" in e for e in callback.errors)
    assert weight(model) == pytest.approx(-1.01)  # the average of -1 and -2 with .99


def test_training_continues_from_a_file_after_an_interrupt(tmp_path):  # contract 5.4, 9.4
    model = new_model()
    model.fit(ONE, ONE, verbose=0)
    model.save_weights(tmp_path / "checkpoint.weights.h5")
    interrupt(model)
    model.load_weights(tmp_path / "checkpoint.weights.h5")
    assert int(model.optimizer.iterations) == 1
    model.fit(ONE, ONE, verbose=0)
    assert weight(model) == pytest.approx((-1 + -2) / 2)  # finalized


@pytest.mark.parametrize("rate", [1.0, keras.optimizers.schedules.CosineDecay(1.0, 10)])
@pytest.mark.parametrize("loaded", [False, True])
def test_settings_are_known_after_an_interrupt(rate, loaded):  # contract 14.8
    optimizer = kerasgd.SGD(rate).set_group("kernel", learning_rate_factor=0.5)
    model = model_of_one_weight(optimizer, steps_per_execution=STEPS_PER_EXECUTION)
    model.fit(ONE, ONE, verbose=0)
    if loaded:
        store = {}
        optimizer.save_own_variables(store)
        optimizer.load_own_variables({**store, "group_factor:0": np.array(0.1, "float32")})
    else:
        optimizer.set_learning_rate_factor(0, 0.1)
    (group,) = interrupt(model).optimizer.update().groups
    assert group.learning_rate_factor == 0.1
