"""The built site on a free port, and a browser to open it with."""

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Response, sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# A container has no GPU; what Chromium asks of the network by itself is not the site's.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

OpenPage = Callable[..., Page]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line of log each."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    """The address of the built site, with a slash at its end."""
    if not (SITE / "index.html").exists():
        message = "there is no site/index.html: `nox -s browser` builds it"
        pytest.fail(message, pytrace=False)
    handler = functools.partial(QuietHandler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, or else Playwright's own."""
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.fail(
                "there is no Chromium: `apt-get install chromium`, or "
                "`playwright install chromium` in the environment of the tests",
                pytrace=False,
            )
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, base_url: str) -> Iterator[OpenPage]:
    """Open a page of the site: `open_page("tasks/append/", viewport=PHONE)`.

    What the page asks of other hosts, and what it writes to the console, fails the test.
    """
    contexts = []
    complaints: list[str] = []

    def watch(page: Page) -> None:
        page.on("console", lambda each: complaints.append(f"{each.type}: {each.text}"))
        page.on("pageerror", lambda each: complaints.append(f"error: {each}"))

        def on_request(request: Request) -> None:
            if not request.url.startswith((base_url, "data:", "blob:")):
                complaints.append(f"asks another host: {request.url}")

        def on_response(response: Response) -> None:
            if response.status >= HTTPStatus.BAD_REQUEST:
                complaints.append(f"{response.status}: {response.url}")

        page.on("request", on_request)
        page.on("response", on_response)

    def open_page(path: str = "", **context: Any) -> Page:
        context = {"viewport": DESKTOP, "reduced_motion": "reduce"} | context
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        watch(page)
        # The theme takes the links over once it has read the site's map: until then a key
        # or a click may be lost.
        page.goto(base_url + path, wait_until="networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def paths(base_url: str) -> list[str]:
    """The paths of all pages, as the site's own map lists them."""
    assert base_url
    places = re.findall(r"<loc>(.*?)</loc>", (SITE / "sitemap.xml").read_text("utf-8"))
    home = min(places, key=len)
    return [place.removeprefix(home) for place in places]
