"""A file is written whole or not at all, and keeps its mode and its links (contract 12.7)."""

import os
import signal
import stat
import subprocess
import sys

import pytest

import kerasgd


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


def test_a_failed_write_leaves_nothing_behind(tmp_path):
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


def test_a_killed_process_leaves_the_old_file_whole_and_its_rest_is_removed(file):
    before = file.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    assert len(list(file.parent.iterdir())) == 2
    kerasgd.save_optimizer(kerasgd.SGD(), str(file))
    assert [path.name for path in file.parent.iterdir()] == [file.name]
