"""The conformance command: its output, its files and its exit status."""

import json
import os
import subprocess
import sys

import keras
import pytest
from conftest import BACKEND

from kerasgd.conformance.__main__ import main
from kerasgd.conformance.clauses import CLAUSES, selected


def test_holding_clauses_exit_with_0(capsys):
    assert main(["--clause", "12.4"]) == 0
    title, line, total = capsys.readouterr().out.splitlines()
    assert title == f"kerasgd:SGD on Keras {keras.__version__} with {BACKEND}"
    assert line == "12.4  flags are True or False only: holds"
    assert total == "1 of 1 clauses hold"


def test_failing_clauses_exit_with_1(capsys, tmp_path):
    file = tmp_path / "results.json"
    options = ["--subject", "keras.optimizers:SGD", "--clause", "1", "--json", str(file)]
    assert main(options) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("fails [D20]") for line in lines)
    assert lines[-1] == "5 of 6 clauses hold"
    records = json.loads(file.read_text())
    assert [record["clause"] for record in records] == selected("1")
    assert {record["status"] for record in records} == {"holds", "fails"}
    [failed] = [record for record in records if record["status"] == "fails"]
    assert failed["sentence"] == CLAUSES["1.5"]
    assert failed["deviations"] == ["D20"]
    assert failed["expected"] == "no error"
    assert "momentum" in failed["actual"]


def test_untested_clauses_say_why(capsys):
    assert main(["--clause", "9.2"]) == 0
    _, line, total = capsys.readouterr().out.splitlines()
    assert line.endswith("not tested here (no Python with another backend was named)")
    assert total == "0 of 0 clauses hold (1 not tested here)"


def test_clauses_that_are_not_claimed_do_not_count(capsys, tmp_path):
    file = tmp_path / "results.json"
    options = ["--subject", "keras.optimizers:SGD", "--clause", "16", "--json", str(file)]
    assert main(options) == 0
    _, *lines, total = capsys.readouterr().out.splitlines()
    assert len(lines) == len(selected("16"))
    assert all(line.endswith(": not claimed (it has no `skip_nonfinite()`)") for line in lines)
    assert total == f"0 of 0 clauses hold ({len(lines)} not claimed)"
    assert {record["status"] for record in json.loads(file.read_text())} == {"not claimed"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--clause", "99"], "no clause '99'"),
        (["--clause", "5."], "no clause '5.'"),
        (["--subject", "SGD"], "'module:Class'"),
        (["--subject", "nowhere:SGD"], "no module 'nowhere'"),
        (["--subject", "kerasgd:Nothing"], "no 'Nothing'"),
        (["--subject", "kerasgd:schedules"], "not a class of Keras optimizers"),
        (["--python-for", "cuda=python"], "'cuda=python'"),
        (["--python-for", "jax=/nowhere/python"], "no program '/nowhere/python'"),
        (["--json", "/nowhere/results.json"], "no folder '/nowhere'"),
    ],
)
def test_wrong_calls_exit_with_2(capsys, options, complaint):
    with pytest.raises(SystemExit) as end:
        main(options)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kerasgd.conformance", "--clause", "12.4"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": BACKEND},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 of 1 clauses hold"
