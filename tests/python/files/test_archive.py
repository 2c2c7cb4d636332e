"""A damaged file is refused, and allocates no memory for false sizes (contract 9.4a, 12.7)."""

import io
import os
import resource
import zipfile

import keras
import numpy as np
import pytest
from conftest import numbers

import kerasgd
from files.conftest import as_member, members, refused, rewritten, trained


def claiming(shape, dtype="<f4"):
    """A member whose header claims a shape that its data does not have."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


CLAIMS = {
    "claimed size": {"velocity_0.npy": claiming((2**40,))},
    "claimed dimension": {"velocity_0.npy": claiming((-1, 2))},
    "objects": {"velocity_0.npy": claiming((0,), "|O")},
    "not an array": {"velocity_0.npy": b"text"},
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_false_claim_is_refused(claim, file):
    rewritten(file, CLAIMS[claim])
    refused(file)


def test_a_compressed_file_takes_no_memory(file):
    big = as_member(np.zeros(10_000_000, "float32"))
    rewritten(file, {"velocity_0.npy": big}, zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_only_regular_files_are_read(tmp_path):
    refused(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError):
        kerasgd.load_optimizer(str(tmp_path / "nothing"))


# Random damage ----------------------------------------------------------------------------------


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
    """The file with damage inside a member, but a valid checksum."""
    content = members(file)
    name = sorted(content)[int(generator.integers(len(content)))]
    return {name: mutated(content[name], generator)}


def outcome(file, expected):
    """The outcome of loading: refused, changed or equal; any other error is a fault."""
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


def test_randomly_damaged_files_are_refused(tmp_path):
    outcomes = fuzz(tmp_path, 60)
    assert outcomes["refused"] > 60
    # Damage inside a member can turn a number or a name into another valid one.
    assert outcomes["changed"] < 60


@pytest.mark.long
def test_many_randomly_damaged_files_are_refused(tmp_path):
    outcomes = fuzz(tmp_path, 1500)
    print(outcomes)
    assert outcomes["refused"] > 1500
