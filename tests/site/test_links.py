"""No page of the site that `make site` has built refers to what is not there."""

import pathlib
import urllib.parse

import pytest
from links import page

SITE = pathlib.Path(__file__).parents[2] / "build" / "site"
PAGES = sorted(SITE.rglob("*.html"))

pytestmark = pytest.mark.skipif(not PAGES, reason="`make site` has not built build/site")


def is_elsewhere(link):
    return urllib.parse.urlsplit(link).scheme in ("http", "https", "mailto")


def is_broken(file, link):
    parts = urllib.parse.urlsplit(link)
    target = file.parent / urllib.parse.unquote(parts.path) if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if parts.scheme or not target.is_file():
        return True
    fragment = urllib.parse.unquote(parts.fragment)
    return target.suffix == ".html" and bool(fragment) and fragment not in page(target).ids


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.relative_to(SITE).as_posix())
def test_links(file):
    links = [link for link in page(file).links if link != "#" and not is_elsewhere(link)]
    assert [link for link in links if is_broken(file, link)] == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.relative_to(SITE).as_posix())
def test_everything_that_is_loaded_lies_in_the_site(file):
    loaded = [link for link in page(file).loaded if not link.startswith("data:")]
    assert [link for link in loaded if is_broken(file, link)] == []
    assert "file:///" not in file.read_text("utf-8")
