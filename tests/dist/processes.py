"""Processes in a clean environment, whose home is an empty folder."""

import os
import subprocess


def run(folder, *command, **variables):
    """Run a command in `folder`, and keep its output."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "R_PROFILE_USER": os.devnull,
        "PIP_CONFIG_FILE": os.devnull,
    }
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def output_of(folder, *command, **variables):
    """The output of a command that must succeed."""
    done = run(folder, *command, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout
