"""Runs functions in other processes: for another backend, several workers or virtual devices."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from kerasgd.conformance.files import folder

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
# The time limit for workers, in seconds: a worker that has lost the others would wait for minutes.
LONGEST = 120


class ChildError(RuntimeError):
    """A child process failed; the message is the last line of its output."""


def call(
    function: Callable[..., Any], *arguments: Any, python: str = sys.executable, **environment: str
) -> Any:
    """`function(*arguments)`, in a new process of the interpreter `python`.

    Arguments and result are passed as JSON.

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
            raise ChildError((done.stderr.strip() or "no output").splitlines()[-1])
        return json.loads(result.read_text())


def call_in_workers(
    workers: int, function: Callable[..., Any], *arguments: Any, **environment: str
) -> list[Any]:
    """Call `function(rank, addresses, *arguments)` in parallel processes, and return their results.

    `addresses` has one local address with a free port for each worker.

    Raises:
        ChildError: a worker fails, or the workers take too long. All of them are stopped then.
    """
    addresses = _free_addresses(workers)
    with folder() as path, contextlib.ExitStack() as stack:
        processes = []
        for rank in range(workers):
            request = [function.__module__, function.__name__, [rank, addresses, *arguments]]
            (path / f"{rank}.request").write_text(json.dumps(request))
            process = subprocess.Popen(
                [sys.executable, "-m", "kerasgd.conformance.child", str(path / f"{rank}.json")],
                stdin=stack.enter_context(open(path / f"{rank}.request")),
                stdout=subprocess.DEVNULL,
                stderr=stack.enter_context(open(path / f"{rank}.errors", "w")),
                env={**os.environ, **QUIET, **environment},
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        _wait_for(processes, path)
        return [json.loads((path / f"{rank}.json").read_text()) for rank in range(workers)]


def _free_addresses(number: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def _wait_for(processes: Sequence[subprocess.Popen[bytes]], path: pathlib.Path) -> None:
    """Wait until all processes have ended without error.

    Raises:
        ChildError: a process fails (the first failure causes those of the others), or the time
            limit has passed.
    """
    end = time.monotonic() + LONGEST
    while any(process.poll() is None for process in processes):
        failed = [rank for rank, process in enumerate(processes) if process.poll()]
        if failed or time.monotonic() > end:
            break
        time.sleep(0.05)
    for rank, process in enumerate(processes):
        if process.poll():
            said = (path / f"{rank}.errors").read_text().strip() or "no output"
            raise ChildError(f"Worker {rank}: " + "\n".join(said.splitlines()[-5:]))
    if any(process.poll() is None for process in processes):
        raise ChildError(f"The workers did not end within {LONGEST} seconds.")


def main() -> None:
    """Run the request on standard input, and write the result to the file named in the argument."""
    warnings.simplefilter("ignore")
    module, name, arguments = json.load(sys.stdin)
    answer = getattr(importlib.import_module(module), name)(*arguments)
    pathlib.Path(sys.argv[1]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
