"""The archives of `make dist` contain the files of this folder, and train in an empty environment."""

import json
import pathlib
import stat
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email import message_from_string

import pytest
from packaging.requirements import Requirement
from processes import output_of as run

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
DIST = ROOT / "build" / "dist"
PACKAGE = ROOT / "python" / "kerasgd"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

pytestmark = pytest.mark.skipif(not DIST.is_dir(), reason="`make dist` has not built build/dist")


def built(pattern):
    """The one file of build/dist with such a name."""
    (file,) = DIST.glob(pattern)
    return file


def sdist():
    return built("kerasgd-*.tar.gz")


def wheel():
    return built("kerasgd-*.whl")


def r_archive():
    return built("kerasgd_*.tar.gz")


def members(archive):
    """The files of an archive with their contents; links are `None`."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            infos = [info for info in file.infolist() if not info.is_dir()]
            linked = {i.filename for i in infos if stat.S_ISLNK(i.external_attr >> 16)}
            return {
                i.filename: None if i.filename in linked else file.read(i.filename) for i in infos
            }
    with tarfile.open(archive) as file:
        infos = [info for info in file.getmembers() if not info.isdir()]
        return {i.name: file.extractfile(i).read() if i.isreg() else None for i in infos}


def below(folder, files):
    return {n.removeprefix(folder): data for n, data in files.items() if n.startswith(folder)}


def sources_of_package():
    files = {p.relative_to(PACKAGE).as_posix(): p for p in PACKAGE.rglob("*") if p.is_file()}
    return {
        name: path.read_bytes() for name, path in files.items() if "__pycache__" not in path.parts
    }


ARCHIVES = {
    sdist: f"kerasgd-{PROJECT['version']}/python/kerasgd/",
    wheel: "kerasgd/",
    r_archive: "kerasgd/inst/python/kerasgd/",
}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_each_archive_has_the_python_files_of_this_folder_and_no_link(archive):
    files = members(archive())
    assert [name for name, data in files.items() if data is None] == []
    assert below(ARCHIVES[archive], files) == sources_of_package()


def environment_with_keras(folder):
    """A Python that uses the Keras of this one, but not its kerasgd."""
    run(folder, sys.executable, "-m", "venv", "--without-pip", folder / "environment")
    python = folder / "environment" / "bin" / "python"
    (library,) = (folder / "environment").glob("lib/python*/site-packages")
    # Python reads no .pth files in a folder named here, so the editable kerasgd is not found
    (library / "keras.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = "import importlib.util as u; print(u.find_spec('keras') and 1, u.find_spec('kerasgd'))"
    assert run(folder, python, "-c", found) == "1 None\n"
    return python


def weights(steps):
    """The weight after these steps with momentum from 0 towards 1, the minimum of (w - 1)^2."""
    weight = velocity = 0.0
    for _ in range(steps):
        velocity = 0.5 * velocity - 0.25 * 2 * (weight - 1)
        weight += velocity
    return weight


def requirements(texts):
    return {Requirement(text) for text in texts}


def train(folder, *command, **variables):
    lines = run(folder, *command, **variables).splitlines()
    (found,) = [line for line in lines if line.startswith("{")]
    return json.loads(found)


@pytest.mark.parametrize("archive", [sdist, wheel])
def test_python_package_trains(archive, tmp_path):
    python = environment_with_keras(tmp_path)
    run(
        tmp_path,
        *[ROOT / ".venv-dist/bin/python", "-m", "pip", "install", "--no-index", "--no-deps"],
        *["--no-build-isolation", "--prefix", tmp_path / "environment", archive()],
    )
    found = train(tmp_path, python, HERE / "train.py")
    assert pathlib.Path(found["file"]).is_relative_to(tmp_path)
    assert found["version"] == PROJECT["version"]
    assert found["weights"] == [weights(4), weights(4)]
    assert found["suggestion"] == "learning_rate"
    metadata = found["metadata"]
    assert metadata["Version"] == [PROJECT["version"]]
    assert metadata["License-Expression"] == ["MIT"]
    assert metadata["Project-URL"] == [f"{n}, {url}" for n, url in PROJECT["urls"].items()]
    assert requirements(PROJECT["dependencies"]) <= requirements(metadata["Requires-Dist"])


def test_r_package_trains(tmp_path):
    python = environment_with_keras(tmp_path)
    library = tmp_path / "library"
    library.mkdir()
    run(tmp_path, "R", "CMD", "INSTALL", f"--library={library}", r_archive())
    places = {"R_LIBS": str(library), "RETICULATE_PYTHON": str(python)}
    found = train(tmp_path, "Rscript", HERE / "train.R", **places)
    description = message_from_string((ROOT / "DESCRIPTION").read_text("utf-8"))
    assert found["library"] == str(library)
    assert pathlib.Path(found["file"]).is_relative_to(library)
    assert found["version"] == description["Version"]
    assert found["weights"] == [weights(4), weights(4)]
    assert found["suggestion"] == "learning_rate"
    assert set(found["vignettes"]) == {p.stem for p in (ROOT / "vignettes").glob("*.Rmd")}
    assert description["Version"] in found["citation"]
    assert description["URL"] in found["citation"]
