"""A pytest plugin that runs Keras' own tests with kerasgd's classes in place of Keras'.

`tools/keras-own-tests.sh` starts it. Keras' files are not edited: the names are replaced before
pytest imports the tests. `keras_own_tests.toml` lists the tests that are expected to fail. The list
is strict: an entry that matches no test, or a listed test that passes or fails with another
message, is an error. A test that passes without creating one of our optimizers is reported as
skipped, because it does not test them.
"""

from __future__ import annotations

import contextlib
import functools
import tomllib
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras
import keras.src
import pytest
from keras.src import optimizers
from keras.src.optimizers import loss_scale_optimizer, sgd

import kerasgd

EXCLUDED = Path(__file__).with_suffix(".toml")
OURS = (kerasgd.SGD, kerasgd.LossScaleOptimizer)


@dataclass(frozen=True)
class Exclusion:
    """A table of `keras_own_tests.toml`: tests that fail for one reason."""

    tests: tuple[str, ...]
    reason: str
    message: str

    def covers(self, name: str) -> bool:
        return any(fnmatchcase(name, test) for test in self.tests)


def read_exclusions(backend: str) -> list[Exclusion]:
    """The exclusions on this backend."""
    return [
        Exclusion(
            tests=tuple(table["tests"]),
            reason=f"contract {table['clause']}: {table['reason']}",
            message=table["message"],
        )
        for table in tomllib.loads(EXCLUDED.read_text())["excluded"]
        if backend in table.get("backends", [backend])
    ]


@contextlib.contextmanager
def replaced_optimizers() -> Iterator[None]:
    """A context in which imports from Keras find our classes in place of Keras' own.

    Keras' own modules keep their classes: on PyTorch, creating an optimizer looks up its class.
    """
    namespace = types.ModuleType(optimizers.__name__)
    vars(namespace).update(vars(optimizers), **{ours.__name__: ours for ours in OURS})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.src, "optimizers", namespace)
        patch.setattr(sgd, "SGD", kerasgd.SGD)
        patch.setattr(loss_scale_optimizer, "LossScaleOptimizer", kerasgd.LossScaleOptimizer)
        yield


def provide_names() -> None:
    """Let the tests find our classes by name, and our state under a private name of Keras."""
    for ours in OURS:
        optimizers.ALL_OBJECTS_DICT[ours.__name__.lower()] = ours
    kerasgd.SGD._accumulated_gradients = property(
        lambda optimizer: [v for v in optimizer.variables if v.name.endswith("_accumulator")]
    )


def note_instances(cls: type, made: list[object]) -> None:
    """Append each new instance of `cls` to `made`."""
    original: Callable[..., None] = cls.__init__

    @functools.wraps(original)
    def init(self: object, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        original(self, *args, **kwargs)

    cls.__init__ = init


class KerasOwnTests:
    """The hooks of pytest, and their shared state."""

    def __init__(self, exclusions: Sequence[Exclusion]) -> None:
        self.exclusions = exclusions
        self.made: list[object] = []
        for ours in OURS:
            note_instances(ours, self.made)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Import the tests."""
        with replaced_optimizers():
            return (yield)

    @pytest.hookimpl(tryfirst=True)  # before `-k` leaves tests out
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Refuse a list that names tests that do not exist."""
        names = [name_of(item) for item in items]
        listed = [test for exclusion in self.exclusions for test in exclusion.tests]
        gone = [t for t in listed if not any(fnmatchcase(name, t) for name in names)]
        if gone:
            raise pytest.UsageError(f"{EXCLUDED} lists tests that do not exist: {', '.join(gone)}")

    def pytest_runtest_setup(self) -> None:
        self.made.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        exclusions = [e for e in self.exclusions if e.covers(name_of(item))]
        if report.when == "call" and not report.skipped:
            if exclusions:
                judge_excluded(report, call, exclusions)
            elif report.passed and not self.made:
                report.outcome = "skipped"
                report.longrepr = (str(item.path), None, "Skipped: makes no optimizer of kerasgd")
        return report


def judge_excluded(
    report: pytest.TestReport, call: pytest.CallInfo[None], exclusions: Sequence[Exclusion]
) -> None:
    """An expected failure if it is a listed one; an error otherwise."""
    if call.excinfo is None:
        report.outcome = "failed"
        report.longrepr = f"This test passes: take it off {EXCLUDED}."
        return
    listed = [e.reason for e in exclusions if e.message in str(call.excinfo.value)]
    if listed:
        report.outcome = "skipped"
        report.wasxfail = listed[0]
    else:
        messages = "\n".join(exclusion.message for exclusion in exclusions)
        report.sections.append((f"{EXCLUDED.name} expects another message", messages))


def name_of(item: pytest.Item) -> str:
    """The name in the form of `keras_own_tests.toml`, without folders."""
    return f"{item.path.name}::{item.nodeid.partition('::')[2]}"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires_trainable_backend: Keras' mark for its tests")
    provide_names()
    config.pluginmanager.register(KerasOwnTests(read_exclusions(keras.config.backend())))
