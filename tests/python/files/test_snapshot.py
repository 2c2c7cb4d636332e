"""`save_optimizer()` and `load_optimizer()` (contract 9.1, 9.4b)."""

import zipfile

import keras
import numpy as np
import pytest

import kerasgd
from files.conftest import as_member, header_of, json_member, refused, rewritten
from kerasgd.files import snapshot
from kerasgd.r import inspection

SETTINGS = [
    {},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "clipnorm": 0.5},
    {"momentum": 0.5, "use_ema": True, "ema_overwrite_frequency": 2},
    {"momentum": 0.5, "use_ema": True, "gradient_accumulation_steps": 3},
    {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)},
]


def gradients(step):
    # Reproducible for each step, but without a pattern.
    numbers = np.random.default_rng(step).normal(size=5).astype("float32")
    return [keras.ops.convert_to_tensor(numbers[:2]), keras.ops.convert_to_tensor(numbers[2:])]


def variables(dtype="float32"):
    return [keras.Variable([1.0, 2.0], dtype=dtype), keras.Variable([3.0, 4.0, 5.0], dtype=dtype)]


def run(optimizer, weights, steps):
    for step in steps:
        optimizer.apply(gradients(step), weights)


def values(weights):
    return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(w, "float32"))) for w in weights]


def copies(weights, dtype="float32"):
    # NumPy's copies, because on PyTorch a variable could share memory with another one.
    return [keras.Variable(value.copy(), dtype=dtype) for value in values(weights)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_resumed_training_equals_uninterrupted_training(settings, dtype, tmp_path):
    # contract 7.5, 9.1: step 4 is in the middle of a window of three
    file = str(tmp_path / "optimizer")
    weights = variables(dtype)
    optimizer = kerasgd.SGD(**settings)
    run(optimizer, weights, range(4))
    snapshot.save(optimizer, file)
    at_save = copies(weights, dtype)
    run(optimizer, weights, range(4, 9))

    resumed = snapshot.load(file)
    run(resumed, at_save, range(4, 9))
    assert same(values(weights), values(at_save))
    assert inspection.differing_settings(optimizer, resumed, 0) == []
    assert inspection.differing_state(optimizer, resumed, 0) == {}


def model_with(optimizer, weight):
    layer = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.set_weights([weight])
    model.compile(optimizer=optimizer, loss="mse")
    return model


def fit(model, epochs):
    x, y = np.array([[1 / 3], [-1.1], [0.3]]), np.array([[0.1], [1.3], [0.7]])
    model.fit(x, y, epochs=epochs, batch_size=1, shuffle=False, verbose=0)
    return model.get_weights()[0].copy()


@pytest.mark.parametrize("wrap", [lambda o: o, kerasgd.LossScaleOptimizer])
def test_resumed_fit_equals_uninterrupted_fit(wrap, tmp_path):
    # contract 7.5, 9.1: nine steps end in the middle of a window
    file = str(tmp_path / "optimizer")
    optimizer = wrap(kerasgd.SGD(0.1, momentum=0.5, gradient_accumulation_steps=2))
    model = model_with(optimizer, np.zeros((1, 1), "float32"))
    weight = fit(model, 3)
    snapshot.save(optimizer, file)
    resumed = snapshot.load(file)
    assert np.array_equal(fit(model_with(resumed, weight), 4), fit(model, 4))
    assert inspection.differing_state(optimizer, resumed, 0) == {}


def test_a_loss_scale_comes_back(tmp_path):
    # contract 6.3, 9.1
    file = str(tmp_path / "optimizer")
    weights = variables()
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5, momentum=0.5), 4, 3)
    run(optimizer, weights, range(4))
    snapshot.save(optimizer, file)
    at_save = copies(weights)
    run(optimizer, weights, range(4, 9))

    resumed = snapshot.load(file, at_save)
    run(resumed, at_save, range(4, 9))
    assert same(values(weights), values(at_save))
    assert inspection.differing_state(optimizer, resumed, 0) == {}
    assert float(resumed.dynamic_scale) == 32.0  # 4, doubled after steps 3, 6 and 9


def test_exclusions_come_back(tmp_path):
    # contract 3.3
    file = str(tmp_path / "optimizer")
    weights = variables()
    optimizer = kerasgd.SGD(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([weights[1]])
    optimizer.build(weights)
    snapshot.save(optimizer, file)
    new = variables()
    snapshot.load(file).apply([keras.ops.zeros(2), keras.ops.zeros(3)], new)
    assert [w.tolist() for w in values(new)] == [[0.5, 1.0], [3.0, 4.0, 5.0]]


def test_counts_and_rate_are_loaded_before_the_variables(tmp_path):
    file = str(tmp_path / "optimizer")
    optimizer = kerasgd.SGD(0.1)
    run(optimizer, variables(), range(3))
    optimizer.learning_rate = 0.3
    snapshot.save(optimizer, file)
    resumed = snapshot.load(file)
    assert int(resumed.iterations) == 3
    assert resumed.get_config()["learning_rate"] == 0.3


def test_a_loaded_optimizer_can_be_saved_before_it_is_built(tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    weights = variables()
    optimizer = kerasgd.SGD(momentum=0.5)
    run(optimizer, weights, range(2))
    snapshot.save(optimizer, first)
    snapshot.save(snapshot.load(first), second)
    again = snapshot.load(second, weights)
    assert inspection.differing_state(optimizer, again, 0) == {}


def test_state_of_other_variables_is_refused_and_changes_nothing(tmp_path):
    # contract 9.4, 12.7
    file = str(tmp_path / "optimizer")
    optimizer = kerasgd.SGD(momentum=0.5)
    run(optimizer, variables(), range(2))
    snapshot.save(optimizer, file)
    other = [keras.Variable([0.0, 0.0], name="w")]
    with pytest.raises(kerasgd.StateError, match="is for 2 variables"):
        snapshot.load(file, other)

    resumed = snapshot.load(file)
    for _ in range(2):  # the second attempt must not silently start fresh either
        with pytest.raises(kerasgd.StateError, match="is for 2 variables"):
            resumed.apply([keras.ops.ones(2)], other)
    assert not resumed.built
    assert other[0].numpy().tolist() == [0.0, 0.0]


def test_files_that_hold_no_optimizer_are_refused(tmp_path):
    for content in (b"", b"text", b"PK\x03\x04 damaged"):
        file = tmp_path / "file"
        file.write_bytes(content)
        with pytest.raises(kerasgd.StateError, match="not a file written by `save_optimizer"):
            snapshot.load(str(file))
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(kerasgd.StateError, match="not a file written by `save_optimizer"):
        snapshot.load(str(tmp_path / "other.npz"))


def test_an_optimizer_that_cannot_be_saved_leaves_the_file_alone(tmp_path):
    # contract 9.3, 12.7
    file = tmp_path / "optimizer"
    snapshot.save(kerasgd.SGD(), str(file))
    before = file.read_bytes()
    with pytest.raises(kerasgd.StateError, match="function cannot be saved"):
        snapshot.save(kerasgd.SGD(lambda: 0.1), str(file))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["optimizer"]


def test_the_file_holds_no_pickle(tmp_path):
    file = str(tmp_path / "optimizer")
    optimizer = kerasgd.SGD(momentum=0.5)
    run(optimizer, variables("bfloat16"), range(1))
    snapshot.save(optimizer, file)
    with zipfile.ZipFile(file) as archive:
        headers = [archive.read(name)[:80] for name in archive.namelist()]
    assert all(header.startswith(b"\x93NUMPY") and b"'|O'" not in header for header in headers)


CONFIGS = {
    "class": {"class": "Adam"},
    "no class": {"class": None},
    "no settings": {"config": None},
    "format": {"format": "new"},
}


@pytest.mark.parametrize("damage", CONFIGS)
def test_a_damaged_header_is_refused(damage, file):
    header = {**header_of(file), **CONFIGS[damage]}
    rewritten(file, {"optimizer.npy": json_member(header)})
    refused(file)


HEADERS = {
    "deep header": as_member(np.frombuffer(b"[" * 100_000, "uint8")),
    "header of a list": json_member([]),
}


@pytest.mark.parametrize("header", HEADERS)
def test_other_content_in_place_of_the_header_is_refused(header, file):
    rewritten(file, {"optimizer.npy": HEADERS[header]})
    refused(file)
