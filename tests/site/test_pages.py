"""The pages in a browser without a network, on a wide screen and on a phone."""

import pytest
from conftest import PAGES

WIDE, PHONE = 1280, 390

# Elements that extend beyond the right edge of the window, except inside a scrolling element.
STICKING_OUT = """
const scrolls = (element) => {
  for (let e = element.parentElement; e && e !== document.body; e = e.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true;
  return false;
};
return [...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > arguments[0] + 1 && !scrolls(e))
  .map((e) => e.outerHTML.slice(0, 120));
"""

WITHOUT_PICTURE = """
return [...document.images].filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src);
"""


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("page", PAGES)
def test_page(browser, address, page, width):
    browser.show(address + page, width)
    assert browser.complaints() == []
    asked = browser.requests()
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert browser.run(WITHOUT_PICTURE) == []
    assert browser.run(STICKING_OUT, width) == []
    assert browser.run("return document.documentElement.scrollWidth") <= width


CONTENTS = """
const links = [...document.querySelectorAll(arguments[0])].filter((a) => a.checkVisibility());
const target = (a) => document.getElementById(decodeURIComponent(a.hash.slice(1)));
return links.map((a) => [a.textContent, target(a)?.textContent]);
"""


def shown_contents(browser, selector):
    contents = browser.run(CONTENTS, selector)
    assert len(contents) > 2
    for text, target in contents:
        assert target is not None
        assert text in target
    return contents


def test_contents_stand_beside_the_text_on_a_wide_screen(browser, address):
    browser.show(address + "reference/optimizer_sgd.html", WIDE)
    contents = shown_contents(browser, "#toc a")
    assert "Arguments" in dict(contents)
    assert (
        browser.run("return document.querySelector('details.contents').checkVisibility()") is False
    )


def test_contents_unfold_above_the_text_on_a_phone(browser, address):
    browser.show(address + "reference/optimizer_sgd.html", PHONE)
    assert browser.run(CONTENTS, "a.nav-link[href^='#']") == []
    browser.driver.find_element("css selector", "details.contents summary").click()
    assert "Arguments" in dict(shown_contents(browser, "details.contents a"))


def search(browser, query):
    """The headings that a search shows, once it shows something."""
    from selenium.webdriver.support.wait import WebDriverWait

    field = browser.driver.find_element("id", "search-input")
    field.click()
    field.send_keys(query)
    shown = "return !document.getElementById('search-results').hidden"
    WebDriverWait(browser.driver, 10).until(lambda _: browser.run(shown))
    return browser.run(
        "return [...document.querySelectorAll('#search-results strong')].map((e) => e.textContent)"
    )


def press(browser, key):
    browser.driver.switch_to.active_element.send_keys(key)


@pytest.mark.parametrize("page", ["index.html", "reference/optimizer_sgd.html"])
def test_search_leads_to_what_it_finds(browser, address, page):
    from selenium.webdriver import Keys

    browser.show(address + page)
    found = search(browser, "cosine decay restarts")
    assert any("restarts" in heading for heading in found)
    press(browser, Keys.ENTER)
    arrived = browser.run("return location.pathname")
    assert arrived == "/reference/learning_rate_schedule_cosine_decay_restarts.html"
    assert browser.complaints() == []


def test_search_says_when_it_finds_nothing(browser, address):
    browser.show(address)
    assert search(browser, "zyzzyva") == []
    shown = browser.driver.find_element("id", "search-results").text
    assert shown == "Nothing found for “zyzzyva”."


def test_search_is_in_the_menu_on_a_phone(browser, address):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.show(address, PHONE)
    browser.driver.find_element("css selector", ".navbar-toggler").click()
    field = browser.driver.find_element("id", "search-input")
    WebDriverWait(browser.driver, 10).until(lambda _: field.is_displayed() and field.size["height"])
    assert search(browser, "clipnorm")
    assert browser.run(STICKING_OUT, PHONE) == []


def test_search_works_on_pages_that_are_read_from_a_disk(browser):
    from conftest import SITE

    browser.show((SITE / "articles" / "kerasgd.html").as_uri())
    assert search(browser, "clipnorm")
    assert browser.complaints() == []


COPIED = """
const done = arguments[0];
setTimeout(() => navigator.clipboard.readText().then(done), 200);
"""


def test_code_is_copied_without_what_it_prints(browser, address):
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    browser.show(address + "reference/optimizer_sgd.html")
    block = "[...document.querySelectorAll('div.sourceCode')].find((e) => /^#>/m.test(e.innerText))"
    browser.run(f"{block}.querySelector('button.copy').click()")
    copied = browser.driver.execute_async_script(COPIED)
    code = browser.run(f"return {block}.querySelector('pre').innerText")
    lines = [line for line in code.splitlines() if not line.startswith("#>")]
    assert copied.split() == "\n".join(lines).split()
