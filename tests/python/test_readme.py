"""The numbers and examples of README.md are those of real runs and of the recorded results."""

import ast
import contextlib
import csv
import io
import json
import pathlib
import re
import tomllib

import keras
import numpy as np
import pytest

import kerasgd

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def bias_after_loading(sgd, folder):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, bias_initializer="ones")])
    optimizer = sgd(1.0, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer)
    optimizer.build(model.trainable_variables)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    weights = loaded.trainable_variables
    loaded.optimizer.apply([keras.ops.zeros(weight.shape) for weight in weights], weights)
    return loaded.layers[0].bias


def trained(optimizer, steps, dtype="float32"):
    """A weight that starts at 0, after training with gradients of 1."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype=dtype)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer, loss=lambda y, output: keras.ops.mean(output))
    ones = np.ones((steps, 1))
    model.fit(ones, ones, batch_size=1, verbose=0)
    return layer.kernel


def average_of_weights(sgd, folder):
    # fit() writes the average into the weight.
    optimizer = sgd(1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=4)
    return trained(optimizer, steps=16)


def mean_of_gradients(sgd, folder):
    optimizer = sgd(1.0, gradient_accumulation_steps=512)
    return -trained(optimizer, steps=512, dtype="bfloat16")


# In the order of the table, with the value that the documentation gives. The updates move the
# weight to -1, -2, -3 and -4.
FAULTS = [
    (bias_after_loading, 1),
    (average_of_weights, ((-1 * 0.5 - 2 * 0.5) * 0.5 - 3 * 0.5) * 0.5 - 4 * 0.5),
    (mean_of_gradients, 1),
]


def table_of_faults():
    """The table's values for Keras and for kerasgd."""
    rows = re.findall(r"^\|.*\| (-?[0-9.]+) \| (-?[0-9.]+) \|$", TEXT, re.M)
    return [(float(of_keras), float(ours)) for of_keras, ours in rows]


def test_the_table_has_every_fault():
    assert len(table_of_faults()) == len(FAULTS)


@pytest.mark.parametrize("row", range(len(FAULTS)))
def test_kerasgd_does_what_is_documented(row, tmp_path):
    run, documented = FAULTS[row]
    assert table_of_faults()[row][1] == documented
    value = keras.ops.convert_to_numpy(run(kerasgd.SGD, tmp_path)).astype("float64")
    np.testing.assert_allclose(value, documented, rtol=2e-6)


@pytest.mark.parametrize("row", range(len(FAULTS)))
def test_keras_has_the_fault(row, tmp_path):
    version = re.search(r"Keras\s+(\d+\.\d+\.\d+)", TEXT)[1]
    if keras.__version__ != version:
        pytest.skip(f"README.md tells of Keras {version}, and this is {keras.__version__}")
    value = keras.ops.convert_to_numpy(FAULTS[row][0](keras.optimizers.SGD, tmp_path))
    np.testing.assert_allclose(value.astype("float64"), table_of_faults()[row][0], atol=5e-4)


def shown(statement, names):
    """The output of a statement, or its error."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module([statement], []), "README.md", "exec"), names)
    except kerasgd.errors.KerasgdError as error:
        return f"{type(error).__name__}: {error}"
    return printed.getvalue().rstrip()


def test_the_python_example_shows_what_it_prints():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    lines, names, said = code.splitlines(), {}, 0
    keras.utils.set_random_seed(1)
    for statement in ast.parse(code).body:
        following = lines[statement.end_lineno :]
        expected = following[0].removeprefix("# ") if following and following[0][:1] == "#" else ""
        assert shown(statement, names) == expected
        said += bool(expected)
    assert said == code.count("\n# ")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_kerasgd_passes_all_checks_as_recorded(backend):
    with (ROOT / "vignettes" / "conformance.csv").open(encoding="utf-8") as file:
        outcomes = {
            row["status"]
            for row in csv.DictReader(file)
            if (row["subject"], row["backend"]) == ("kerasgd:SGD", backend)
        }
    assert outcomes - {"not tested here"} == {"holds"}


def recorded_update(backend, mode):
    file = ROOT / "benchmarks" / "results" / f"measure-{backend}.json"
    rows = json.loads(file.read_text("utf-8"))["rows"]
    case = [mode, "resnet", "momentum"]
    (row,) = [row for row in rows if row["contender"] == "kerasgd" and row["case"] == case]
    return row


# "With momentum, kerasgd is faster than Keras' SGD in a TensorFlow graph and on PyTorch."
@pytest.mark.parametrize(("backend", "mode"), [("tensorflow", "graph"), ("torch", "eager")])
def test_an_update_is_faster_as_recorded(backend, mode):
    assert recorded_update(backend, mode)["verdict"] == "faster"


# "On JAX and with XLA the times differ by less than 10 %."
@pytest.mark.parametrize(("backend", "mode"), [("jax", "jit"), ("tensorflow", "xla")])
def test_an_update_takes_the_same_time_as_recorded(backend, mode):
    assert 0.9 < recorded_update(backend, mode)["ratio"] < 1.1


def test_versions_are_those_of_the_packages():
    r_package = (ROOT / "DESCRIPTION").read_text("utf-8")
    installation = (ROOT / "vignettes" / "installation.Rmd").read_text("utf-8")
    named = re.findall(r"kerasgd[_-](\d+\.\d+\.\d+)", TEXT + installation)
    assert named == 3 * [kerasgd.__version__]
    assert f"In R ({re.search(r'R .>= (4[.][0-9]+)', r_package)[1]} or later)" in TEXT
    assert f"For Python ({PROJECT['requires-python'].removeprefix('>=')} or later)" in TEXT


def test_files_that_are_linked_exist():
    links = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)
    assert [link for link in links if not (ROOT / link).is_file()] == []
