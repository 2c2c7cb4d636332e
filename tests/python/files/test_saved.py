"""Files of optimizers: written whole or not at all, damaged ones refused (contract 9.4a, 12.7)."""

import io
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from conftest import numbers

import kerasgd

EVERYTHING = {
    "momentum": 0.9,
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "weight_decay": 0.1,
}


def trained(scaled=False):
    optimizer = kerasgd.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5), **EVERYTHING)
    optimizer.exclude_from_weight_decay(var_names=["a"])
    if scaled:
        optimizer = kerasgd.LossScaleOptimizer(optimizer, 4, 3)
    variables = [keras.Variable([1.0, 2.0], name="a"), keras.Variable([[3.0]], name="b")]
    for _ in range(3):
        gradients = [keras.ops.ones(2), keras.ops.ones((1, 1))]
        optimizer.apply(gradients, variables)
    return optimizer, variables


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "optimizer"
    kerasgd.save_optimizer(trained()[0], str(path))
    return path


# Writing ------------------------------------------------------------------------------------------


def test_a_new_file_has_the_mode_of_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        kerasgd.save_optimizer(kerasgd.SGD(), str(tmp_path / "optimizer"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "optimizer").st_mode) == 0o640


def test_a_file_that_is_replaced_keeps_its_mode(file):
    os.chmod(file, 0o604)
    kerasgd.save_optimizer(kerasgd.SGD(), str(file))
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o604


def test_a_link_stays_a_link(file):
    link = file.with_name("link")
    link.symlink_to(file.name)
    kerasgd.save_optimizer(kerasgd.SGD(0.5), str(link))
    assert link.is_symlink()
    assert kerasgd.load_optimizer(str(file)).get_config()["learning_rate"] == 0.5


def test_nothing_is_left_where_the_file_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        kerasgd.save_optimizer(kerasgd.SGD(), str(tmp_path / "folder"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


KILLED = """
import os, signal, sys
from kerasgd.files import replacing
def content(opened):
    opened.write(b"half")
    opened.flush()
    os.kill(os.getpid(), signal.SIGKILL)
replacing.write(sys.argv[1], content)
"""


def test_what_a_killed_process_left_is_removed_and_the_old_file_whole(file):
    before = file.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    assert len(list(file.parent.iterdir())) == 2
    kerasgd.save_optimizer(kerasgd.SGD(), str(file))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


# Reading ------------------------------------------------------------------------------------------


def members(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(file, changes, compression=zipfile.ZIP_STORED):
    content = {**members(file), **changes}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)
    return file


def as_member(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def claiming(shape, dtype="<f4"):
    """A member whose header claims a shape that its data does not have."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def json_member(value):
    return as_member(np.frombuffer(json.dumps(value).encode(), "uint8"))


def header_of(file):
    return json.loads(np.load(io.BytesIO(members(file)["optimizer.npy"])).tobytes())


def refused(file, variables=None):
    with pytest.raises(kerasgd.StateError):
        kerasgd.load_optimizer(str(file), variables)


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
    "claimed size": {"velocity_0.npy": claiming((2**40,))},
    "claimed dimension": {"velocity_0.npy": claiming((-1, 2))},
    "objects": {"velocity_0.npy": claiming((0,), "|O")},
    "not an array": {"velocity_0.npy": b"text"},
    "no description": {"description.npy": None},
    "description of text": {"description.npy": as_member(np.frombuffer(b"text", "uint8"))},
    "description of a list": {"description.npy": json_member([])},
    "description without variables": {"description.npy": json_member({"format": 1, "built": True})},
    "deep description": {"description.npy": as_member(np.frombuffer(b"[" * 100_000, "uint8"))},
    "deep header": {"optimizer.npy": as_member(np.frombuffer(b"[" * 100_000, "uint8"))},
    "header of a list": {"optimizer.npy": json_member([])},
}


@pytest.mark.parametrize("damage", VALUES)
def test_a_damaged_value_is_refused(damage, file):
    rewritten(file, VALUES[damage])
    refused(file)


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


NONSENSE = [None, True, -1, 0.5, 2**40, "a", "", [1, 2], {"a": 1}, {"class_name": "os>system"}]


@pytest.mark.filterwarnings("ignore::kerasgd.KerasgdWarning")
def test_from_config_refuses_nonsense_in_every_key_by_name():  # contract 9.3, 12
    config = trained()[0].get_config()
    accepted = 0
    for key in config:
        for value in NONSENSE:
            try:
                kerasgd.SGD.from_config({**config, key: value})
                accepted += 1
            except kerasgd.KerasgdError as error:
                assert key in str(error), (key, value, error)  # noqa: PT017
    assert accepted < len(config) * len(NONSENSE) / 2


@pytest.mark.parametrize(
    "exclusions",
    [
        [],
        {"indices": [], "patterns": "a"},
        {"indices": [-1], "patterns": []},
        {"indices": [0.5], "patterns": []},
        {"indices": [], "patterns": [1]},
        {"indices": [], "patterns": [], "paths": [1]},
        {"indices": [], "patterns": [], "others": []},
        {"patterns": []},
    ],
)
def test_exclusions_of_a_file_are_checked(exclusions):  # contract 3.3
    config = {**kerasgd.SGD().get_config(), "weight_decay_exclusions": exclusions}
    with pytest.raises(kerasgd.KerasgdError, match="weight_decay_exclusions"):
        kerasgd.SGD.from_config(config)


def test_an_excluded_index_that_no_variable_has_is_refused_at_build():
    exclusions = {"indices": [7], "patterns": []}
    config = {**kerasgd.SGD(weight_decay=0.1).get_config(), "weight_decay_exclusions": exclusions}
    optimizer = kerasgd.SGD.from_config(config)
    with pytest.raises(kerasgd.StateError, match="7"):
        optimizer.build([keras.Variable([0.0])])
    assert not optimizer.built


def test_a_compressed_file_takes_no_memory(file):
    big = as_member(np.zeros(10_000_000, "float32"))
    rewritten(file, {"velocity_0.npy": big}, zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_what_is_no_file_is_refused(tmp_path):
    refused(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError):
        kerasgd.load_optimizer(str(tmp_path / "nothing"))


# Fuzzing ------------------------------------------------------------------------------------------


def mutated(content, generator):
    """The bytes of a file with one of six kinds of damage."""
    content = bytearray(content)
    kind = generator.integers(6)
    at = int(generator.integers(len(content)))
    if kind == 0:
        content[at] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        del content[at : at + int(generator.integers(1, 64))]
    elif kind == 3:
        content[at:at] = generator.bytes(int(generator.integers(1, 64)))
    elif kind == 4:
        end = at + int(generator.integers(1, 64))
        content[at:end] = bytes(len(content[at:end]))
    else:
        other = int(generator.integers(len(content)))
        content[at : at + 16] = content[other : other + 16]
    return bytes(content)


def mutated_members(file, generator):
    """Damage inside a member, whose checksum is right again."""
    content = members(file)
    name = sorted(content)[int(generator.integers(len(content)))]
    return {name: mutated(content[name], generator)}


def outcome(file, expected):
    """How loading ends: refused, or as if nothing were damaged; anything else is a fault."""
    variables = [keras.Variable([1.0, 2.0], name="a"), keras.Variable([[3.0]], name="b")]
    try:
        optimizer = kerasgd.load_optimizer(str(file), variables)
    except kerasgd.StateError:
        return "refused"
    return "identical" if state_of(optimizer) == expected else "changed"


def state_of(optimizer):
    parts = [optimizer, getattr(optimizer, "inner_optimizer", optimizer)]
    return [[numbers(v) for v in part.variables] for part in parts], optimizer.get_config()


def fuzz(tmp_path, count):
    outcomes = {"refused": 0, "identical": 0, "changed": 0}
    for scaled in (False, True):
        original = tmp_path / f"original-{scaled}"
        kerasgd.save_optimizer(trained(scaled)[0], str(original))
        content = original.read_bytes()
        loaded = kerasgd.load_optimizer(
            str(original), [keras.Variable([1.0, 2.0], name="a"), keras.Variable([[3.0]], name="b")]
        )
        expected = state_of(loaded)
        file = tmp_path / "damaged"
        for seed in range(count):
            generator = np.random.default_rng([seed, scaled])
            file.write_bytes(content)
            if seed % 2:
                rewritten(file, mutated_members(original, generator))
            else:
                file.write_bytes(mutated(content, generator))
            outcomes[outcome(file, expected)] += 1
    return outcomes


def damaged_store(store, generator):
    """What Keras hands over for a file in which one array is another one."""
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
def test_damaged_arrays_change_nothing_or_are_weights(built):  # contract 9.4a, 12.7
    store = {}
    trained()[0].save_own_variables(store)
    refusals = 0
    for seed in range(200):
        optimizer = trained()[0] if built else kerasgd.SGD(0.5, **EVERYTHING)
        before = [numbers(v) for v in optimizer.variables]
        try:
            optimizer.load_own_variables(damaged_store(store, np.random.default_rng(seed)))
        except kerasgd.StateError:
            refusals += 1
            assert [numbers(v) for v in optimizer.variables] == before
        else:
            assert np.isfinite(float(optimizer.learning_rate))
            assert 0 <= int(optimizer._iterations) < 2**31
    assert refusals > 100


def test_damaged_files_are_refused_by_name(tmp_path):
    outcomes = fuzz(tmp_path, 60)
    assert outcomes["refused"] > 60
    # Inside a member a number may become another number, or a name another name.
    assert outcomes["changed"] < 60


@pytest.mark.long
def test_many_damaged_files_are_refused_by_name(tmp_path):
    outcomes = fuzz(tmp_path, 1500)
    print(outcomes)
    assert outcomes["refused"] > 1500
