"""Files of optimizers, and helpers that damage them."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest

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


def refused(file, variables=None):
    with pytest.raises(kerasgd.StateError):
        kerasgd.load_optimizer(str(file), variables)


def json_member(value):
    return as_member(np.frombuffer(json.dumps(value).encode(), "uint8"))


def header_of(file):
    return json.loads(np.load(io.BytesIO(members(file)["optimizer.npy"])).tobytes())
