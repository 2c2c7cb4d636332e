"""A browser, and a server for the site that `make site` has built."""

import functools
import http.server
import json
import pathlib
import shutil
import threading

import pytest

SITE = pathlib.Path(__file__).parents[2] / "build" / "site"
PAGES = [file.relative_to(SITE).as_posix() for file in sorted(SITE.rglob("*.html"))]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def address():
    """The address of the served site."""
    if not PAGES:
        pytest.skip("`make site` has not built build/site")
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def program(*names):
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip(f"there is no {names[0]} here")
    return found


class Browser:
    """Chromium, with the requests and the console messages of a page."""

    def __init__(self, driver):
        self.driver = driver

    def show(self, url, width=1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 768}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.requests(), self.complaints()  # those of the page before
        self.driver.get(url)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def requests(self):
        """The addresses requested since the last call."""
        log = self.driver.get_log("performance")
        messages = [json.loads(entry["message"])["message"] for entry in log]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]

    def complaints(self):
        """The errors and warnings on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="there is no selenium here")
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "google-chrome")
    for option in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        # A request that would leave the machine fails with an error on the console.
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(program("chromedriver"))
    driver = webdriver.Chrome(options, service)
    driver.get("about:blank")  # ends the loading of the browser's own start page
    yield Browser(driver)
    driver.quit()
