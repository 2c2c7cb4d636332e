"""A damaged value in a file is refused, and changes nothing (contract 9.4a, 12.7)."""

import keras
import numpy as np
import pytest
from conftest import numbers

import kerasgd
from files.conftest import EVERYTHING, as_member, json_member, refused, rewritten, trained

VALUES = {
    "rate NaN": {"learning_rate.npy": as_member(np.array(np.nan, "float32"))},
    "rate negative": {"learning_rate.npy": as_member(np.array(-1, "float32"))},
    "rate of text": {"learning_rate.npy": as_member(np.array("a"))},
    "rate of a shape": {"learning_rate.npy": as_member(np.ones(2, "float32"))},
    "count negative": {"iterations.npy": as_member(np.array(-1))},
    "count 2^40": {"iterations.npy": as_member(np.array(2**40))},
    "count of floats": {"iterations.npy": as_member(np.array(1.5))},
    "no count": {"iterations.npy": None},
    "flag 2": {"averaging.npy": as_member(np.array(2))},
    "window of a shape": {"in_window.npy": as_member(np.ones(3, "int32"))},
    "velocity of a shape": {"velocity_0.npy": as_member(np.ones(3, "float32"))},
    "velocity missing": {"velocity_0.npy": None},
    "velocity of a variable too many": {"velocity_2.npy": as_member(np.ones(2, "float32"))},
    "unknown array": {"speed_0.npy": as_member(np.ones(2, "float32"))},
    "no description": {"description.npy": None},
    "description of text": {"description.npy": as_member(np.frombuffer(b"text", "uint8"))},
    "description of a list": {"description.npy": json_member([])},
    "description without variables": {"description.npy": json_member({"format": 1, "built": True})},
    "deep description": {"description.npy": as_member(np.frombuffer(b"[" * 100_000, "uint8"))},
}


@pytest.mark.parametrize("damage", VALUES)
def test_a_damaged_value_is_refused(damage, file):
    rewritten(file, VALUES[damage])
    refused(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("group_factor:0", np.array(-1, "float32")),
        ("group_factor:0", np.array(np.nan, "float32")),
        ("group_factor:0", np.array(1)),
        ("group_factor:0", np.ones(1, "float32")),
        ("group_factor:0", np.array("a")),
        ("group_factor:x", np.array(1, "float32")),
        ("group_factor:-1", np.array(1, "float32")),
        ("group_factor:", np.array(1, "float32")),
    ],
)
def test_a_damaged_factor_is_refused(name, value):  # contract 14.8
    optimizer, store = kerasgd.SGD(), {}
    optimizer.set_group("a", learning_rate_factor=0.5).build([keras.Variable([1.0], name="a")])
    optimizer.save_own_variables(store)
    with pytest.raises(kerasgd.StateError, match="This state is damaged"):
        optimizer.load_own_variables({**store, name: value})
    assert optimizer.groups[0].learning_rate_factor == 0.5


def damaged_store(store, generator):
    """The store that Keras passes for a file in which one array is damaged."""
    store = dict(store)
    name = sorted(store)[int(generator.integers(len(store)))]
    array = np.asarray(store[name])
    ways = (
        lambda: array.astype("float64") * np.nan if array.dtype.kind == "f" else array - 5,
        lambda: array[np.newaxis],
        lambda: array.ravel()[:0],
        lambda: array.astype(str),
        lambda: array.astype(object),
        lambda: np.array(2**40),
        lambda: np.frombuffer(generator.bytes(array.nbytes), array.dtype).reshape(array.shape),
        None,
    )
    way = ways[int(generator.integers(len(ways)))]
    if way is None:
        del store[name]
    else:
        store[name] = way()
    return store


@pytest.mark.filterwarnings("ignore:State left out")  # where the description is missing
@pytest.mark.parametrize("built", [False, True])
def test_damaged_arrays_are_refused_or_hold_valid_values(built):  # contract 9.4a, 12.7
    def new_optimizer():
        return trained()[0] if built else kerasgd.SGD(0.5, **EVERYTHING)

    store = {}
    trained()[0].save_own_variables(store)
    refusals, optimizer = 0, new_optimizer()
    for seed in range(200):
        before = [numbers(v) for v in optimizer.variables]
        try:
            optimizer.load_own_variables(damaged_store(store, np.random.default_rng(seed)))
        except kerasgd.StateError:
            refusals += 1
            assert [numbers(v) for v in optimizer.variables] == before
        else:
            assert np.isfinite(float(optimizer.learning_rate))
            assert 0 <= int(optimizer._iterations) < 2**31
            optimizer = new_optimizer()
    assert refusals > 100
