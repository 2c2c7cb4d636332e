"""Work that needs a process of its own: another backend, or devices set up before it starts."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

from kerasgd.conformance.files import folder

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}


class ChildError(RuntimeError):
    """A child process failed; the message is the last thing it said."""


def call(
    function: Callable[..., Any], *arguments: Any, python: str = sys.executable, **environment: str
) -> Any:
    """`function(*arguments)`, in a new process of the interpreter `python`.

    Arguments and result travel as JSON.

    Raises:
        ChildError: the process fails.
    """
    request = json.dumps([function.__module__, function.__name__, arguments])
    with folder() as path:
        result = path / "result.json"
        done = subprocess.run(
            [python, "-m", "kerasgd.conformance.child", str(result)],
            input=request,
            capture_output=True,
            text=True,
            env={**os.environ, **QUIET, **environment},
        )
        if done.returncode != 0:
            raise ChildError((done.stderr.strip() or "it said nothing").splitlines()[-1])
        return json.loads(result.read_text())


def main() -> None:
    """Answer the request on standard input, into the file that the argument names."""
    warnings.simplefilter("ignore")
    module, name, arguments = json.load(sys.stdin)
    answer = getattr(importlib.import_module(module), name)(*arguments)
    pathlib.Path(sys.argv[1]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
