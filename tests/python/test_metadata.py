"""Version, address, licence and authors are the same in all files that state them."""

import pathlib
import re
import tomllib
from email import message_from_string

import pytest

import kerasgd

ROOT = pathlib.Path(__file__).parents[2]
# The one place for each: the others repeat what DESCRIPTION says.
DESCRIPTION = message_from_string((ROOT / "DESCRIPTION").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = (ROOT / "CITATION.cff").read_text("utf-8")
NEWS = (ROOT / "NEWS.md").read_text("utf-8")


def cited(key):
    """A value of CITATION.cff, whose lines are `key: value`."""
    (value,) = re.findall(rf"^[- ]*{key}: (.*)$", CITATION, re.M)
    return value.strip('"')


def test_version():
    version = DESCRIPTION["Version"]
    assert PROJECT["version"] == version
    assert kerasgd.__version__ == version
    assert cited("version") == version
    assert NEWS.startswith(f"# kerasgd {version}\n")


def test_address():
    url = DESCRIPTION["URL"]
    issues = DESCRIPTION["BugReports"]
    assert PROJECT["urls"] == {"Homepage": url, "Issues": issues}
    assert cited("repository-code") == cited("url") == url
    assert issues == f"{url}/issues"


ADDRESS = re.compile(r"https?://[\w./-]*/kerasgd\b")


@pytest.mark.parametrize(
    "pattern", ["*.md", "*.yml", "R/*.R", "vignettes/**/*.Rmd", "python/**/*.py", "inst/CITATION"]
)
def test_no_page_has_another_address(pattern):
    for file in ROOT.glob(pattern):
        found = set(ADDRESS.findall(file.read_text("utf-8")))
        assert found <= {DESCRIPTION["URL"]}, file


def test_authors_and_licence():
    (author,) = PROJECT["authors"]
    assert f'"{author["name"]}"' in DESCRIPTION["Authors@R"]
    assert f'"{author["email"]}"' in DESCRIPTION["Authors@R"]
    assert (cited("name"), cited("email")) == (author["name"], author["email"])
    assert f'person("{author["name"]}")' in (ROOT / "inst/CITATION").read_text("utf-8")
    assert DESCRIPTION["License"] == f"{PROJECT['license']} + file LICENSE"
    assert cited("license") == PROJECT["license"]


def test_title():
    assert cited("title") == f"kerasgd: {DESCRIPTION['Title']}"


def test_year():
    (year,) = re.findall(r"^YEAR: (\d+)$", (ROOT / "LICENSE").read_text("utf-8"), re.M)
    assert f"Copyright (c) {year} " in (ROOT / "LICENSE.md").read_text("utf-8")
    assert f'year = "{year}"' in (ROOT / "inst/CITATION").read_text("utf-8")
