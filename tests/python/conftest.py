"""Fixtures and helpers for all tests."""

import contextlib
import gc
import os
import pathlib
import tempfile
import threading

import keras
import numpy as np
import pytest

BACKEND = keras.config.backend()
HERE = pathlib.Path(__file__).parent
# The PYTHONPATH for child processes, which need the modules of the tests.
PATH_OF_TESTS = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))

# Whether the conformance checks find a wrong optimizer. Whether a right one passes them is tested
# everywhere, in `conformance/test_runner.py`.
CHECKS_OF_CHECKS = (
    "conformance/test_checks.py",
    "conformance/test_clauses.py",
    "conformance/test_explained_steps.py",
    "conformance/test_groups.py",
    "conformance/test_nonfinite.py",
    "conformance/test_rate_search.py",
    "conformance/test_resuming.py",
    "conformance/test_statistics.py::test_each_check_",
    "conformance/test_statistics.py::test_wrong_logs_",
    "conformance/test_variable_groups.py",
)

# The beginnings of the names of tests whose results do not depend on the version of Keras. They get
# the mark `any_keras`, by which `make test-versions` leaves them out.
ANY_KERAS = (
    # the kernels of each backend, which take tensors and variables
    "backends/test_base.py",
    "backends/tensorflow/test_choice.py",
    "backends/tensorflow/test_sparse.py",
    "test_measurement.py",
    # processes that train alike: replicas in one process, or two devices, are not left out
    "backends/tensorflow/test_replicas.py::test_two_workers_",
    "backends/tensorflow/test_replicas.py::test_a_step_has_one_collective",
    "backends/tensorflow/test_replicas.py::test_three_workers_",
    "backends/tensorflow/test_replicas.py::test_other_numbers_of_workers_continue",
    "backends/test_jax.py::test_two_workers_",
    "backends/test_jax.py::test_other_numbers_of_workers_continue",
    *CHECKS_OF_CHECKS,
    # NumPy, damaged files, the sources
    "files/test_archive.py",
    "files/test_saved.py::test_damaged_arrays_",
    "test_benchmarks.py",
    "test_contributing.py",
    "test_layout.py",
    "test_reference.py",
)

# The beginnings of the names of tests whose results do not depend on the backend. They get the mark
# `any_backend`, and `make test` runs them on PyTorch only, where they are fastest.
ANY_BACKEND = (
    *CHECKS_OF_CHECKS,
    # the options and the output of a command
    "conformance/test_main.py",
    # messages
    "test_errors.py",
    "test_watching.py::test_damaged_",
    # files: damaged, replaced, saved with other arguments, or left behind by a killed process
    "files/test_archive.py",
    "files/test_replacing.py",
    "files/test_saved.py",
    "files/test_snapshot.py::test_a_damaged_header_",
    "files/test_state.py::test_state_of_another_class_",
    "files/test_state.py::test_state_of_other_arguments_",
    "test_backup.py",
    # NumPy, the sources
    "test_contributing.py",
    "test_layout.py",
    "test_metadata.py",
    "test_reference.py",
)

# The options of `compile()` under which a step runs in different ways.
WAYS_TO_COMPILE = [{}]
if BACKEND == "tensorflow":
    WAYS_TO_COMPILE = [{"jit_compile": False}, {"jit_compile": True}]

# The arguments of the documentation and their defaults (contract, signature).
SIGNATURE = {
    "learning_rate": 0.01,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "name": "SGD",
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
KEYWORD_ONLY = ["name", "loss_scale_factor", "gradient_accumulation_steps"]


def compile_equal_programs_once(config):
    """Let JAX keep what this process compiles in a folder, for all tests.

    Child processes do without: JAX may read what another process has written only in part.
    """
    import jax

    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_report_header():
    return f"Keras {keras.__version__} on {BACKEND}"


def pytest_configure(config):
    config.addinivalue_line("markers", "any_keras: says the same with any version of Keras")
    config.addinivalue_line("markers", "any_backend: says the same on any backend")
    if BACKEND == "jax":
        compile_equal_programs_once(config)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by marks
def pytest_collection_modifyitems(items):
    for item in items:
        name = item.nodeid.partition("tests/python/")[2]
        if name.startswith(ANY_KERAS):
            item.add_marker("any_keras")
        if name.startswith(ANY_BACKEND):
            item.add_marker("any_backend")


def pytest_collection_finish():
    # What imports have made lives until the end: the garbage collector need not look at it again.
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_names():
    """Make paths of variables independent of earlier tests."""
    keras.utils.clear_session(free_memory=False)


@pytest.fixture(autouse=True)
def compiled_eager_steps(request, monkeypatch):
    """Compile eager steps on TensorFlow from the first one, except in conformance tests."""
    if BACKEND == "tensorflow" and "/conformance/" not in request.node.nodeid:
        from kerasgd.backends.tensorflow import eager

        monkeypatch.setattr(eager, "PLAIN_STEPS", 0)


@contextlib.contextmanager
def floatx(dtype):
    """Set Keras' default dtype within a context."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


def model_of_one_weight(optimizer, **options):
    """A model with one weight, which starts at 0, and whose gradient is the input."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer, loss=lambda y, output: output[..., 0], **options)
    return model


def weight(model):
    """The one weight of `model_of_one_weight()`."""
    return float(keras.ops.convert_to_numpy(model.layers[0].kernel)[0, 0])


def fit_ones(model, steps, **options):
    """The weight of `model_of_one_weight()` after `steps` steps with gradients of 1."""
    ones = np.ones((steps, 1))
    model.fit(ones, ones, batch_size=1, shuffle=False, verbose=0, **options)
    return weight(model)


def halving(calls):
    """A rate of 1/2, 1/4, ... that must be called on the main thread, as R requires."""

    def rate():
        assert threading.current_thread() is threading.main_thread()
        calls.append(1)
        return 0.5 ** len(calls)

    return rate


def numbers(variable):
    """The values of a variable as lists of Python's numbers."""
    return keras.ops.convert_to_numpy(variable).tolist()


def assert_close(values, expected, dtype):
    """Check that values of Keras equal those of the reference, up to the rounding of `dtype`."""
    bound = {"float32": 2e-6, "float64": 1e-12}[dtype]
    for value, close_to in zip(values, expected, strict=True):
        error = np.abs(keras.ops.convert_to_numpy(value) - close_to)
        assert np.max(error, initial=0) <= bound * np.max(np.abs(close_to), initial=0)
