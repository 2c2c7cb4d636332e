"""A checkout in which unzip, or Git on Windows, wrote the link `inst/python` as a text file."""

import pathlib
import shutil
import tarfile

import pytest
from processes import output_of, run

ROOT = pathlib.Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "build", "__pycache__", "*.egg-info")


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=LEFT_OUT)
    assert [path for path in folder.rglob("*") if path.is_symlink()] == [folder / "inst/python"]
    (folder / "inst/python").unlink()
    (folder / "inst/python").write_text("../python")
    return folder


def install(checkout):
    library = checkout.parent / "library"
    library.mkdir(exist_ok=True)
    options = ["--no-docs", "--no-byte-compile", f"--library={library}"]
    return run(checkout.parent, "R", "CMD", "INSTALL", *options, checkout)


def test_installing_it_in_r_says_what_to_do_and_that_helps(checkout):
    refused = install(checkout)
    assert refused.returncode != 0
    assert "kerasgd has no Python part." in refused.stdout
    (advice,) = [line for line in refused.stdout.splitlines() if line.startswith("  unlink(")]
    output_of(checkout, "Rscript", "-e", advice)
    installed = install(checkout)
    assert installed.returncode == 0, installed.stdout
    assert (checkout.parent / "library/kerasgd/python/kerasgd/__init__.py").is_file()


def test_what_make_builds_from_it_is_whole(checkout):
    printed = output_of(checkout, "tools/build-package.sh", "--no-build-vignettes")
    with tarfile.open(printed.splitlines()[-1]) as archive:
        assert archive.getmember("kerasgd/inst/python/kerasgd/__init__.py").isreg()
