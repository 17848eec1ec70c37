from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Chromium

pytestmark = needs("chromium")


class _Page(http.server.BaseHTTPRequestHandler):
    def __init__(self, body: str, *arguments: Any) -> None:
        self._body = body.encode()
        super().__init__(*arguments)

    def do_GET(self) -> None:
        found = self.path == "/"
        self.send_response(200 if found else 204)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if found:
            self.wfile.write(self._body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name
        pass


@contextmanager
def serving(body: str) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Page, body)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_tab_tells_what_its_page_complains_about_and_asks_elsewhere(chromium: Chromium) -> None:
    elsewhere = "http://127.0.0.1:9/x.png"
    page = (
        '<!doctype html><html lang="en"><title>x</title>'
        f'<main><h1>x</h1><input><img alt="" src="{elsewhere}"></main>'
        "<script>console.error('printed'); setTimeout(() => { throw new Error('thrown') })</script>"
    )

    with serving(page) as url:
        tab = chromium.open(url)
        tab.page.wait_for_load_state("networkidle")
        inaccessible = tab.accessibility_faults()

    assert sorted(tab.faults()) == [
        "Failed to load resource: net::ERR_UNSAFE_PORT (http://127.0.0.1:9/x.png)",
        "a request to http://127.0.0.1:9",
        f"printed ({url})",
        "uncaught: thrown",
    ]
    assert inaccessible == ["label: Form elements must have labels: input"]
    tab.expect_errors("printed|thrown|ERR_UNSAFE_PORT")
    tab.origins.clear()


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_is_shown_in_the_colours_that_are_asked_for(chromium: Chromium, *, dark: bool) -> None:
    with serving('<!doctype html><html lang="en"><title>x</title><main><h1>x</h1></main>') as url:
        tab = chromium.open(url, dark=dark, width=360)
        seen = tab.page.evaluate("[matchMedia('(prefers-color-scheme: dark)').matches, innerWidth]")

    assert seen == [dark, 360]
