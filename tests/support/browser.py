"""Debian's Chromium, driven by Playwright, for tests of pages.

A test takes the fixture ``chromium`` and is marked ``@needs("chromium")``. What its tabs complain about and
ask for is collected, and the fixture fails the test over anything that was not expected::

    @needs("chromium")
    def test_the_page_names_its_daemon(chromium):
        tab = chromium.open("http://127.0.0.1:9809/")
        expect(tab.page.get_by_role("heading", level=1)).to_have_text("autoscaler")
        assert tab.accessibility_faults() == []

Playwright's synchronous interface keeps an event loop running in the thread: ``asyncio.run`` does not work in
a test while the fixture is open.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

#: Milliseconds that an action or an expectation waits for: a loaded machine is slow.
PATIENCE_MS = 30_000
#: What axe-core calls an impact that keeps somebody from using the page.
SERIOUS = ("critical", "serious")


@dataclass(kw_only=True)
class Tab:
    """One page and all that it said: ``errors`` of the console and of scripts, and the origins it asked."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)
    expected: list[re.Pattern[str]] = field(default_factory=list)

    def expect_errors(self, pattern: str) -> None:
        """Let errors that match pass: those of a server that the test has stopped."""
        self.expected.append(re.compile(pattern))

    def faults(self) -> list[str]:
        """Errors that no test has expected, and requests to any other origin than the page's own."""
        told = [one for one in self.errors if not any(pattern.search(one) for pattern in self.expected)]
        return told + [f"a request to {other}" for other in sorted(self.origins - {self.origin})]

    def accessibility_faults(self, **options: Any) -> list[str]:
        """What axe-core finds serious, each as its rule, its help and where. ``options`` are axe's own."""
        from axe_playwright_python.base import AXE_FILE_PATH  # noqa: PLC0415 - heavy, and for few tests

        self.page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
        found = self.page.evaluate("options => axe.run(options)", {"resultTypes": ["violations"], **options})
        return [
            f"{one['id']}: {one['help']}: {' '.join(map(str, node['target']))}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _note_request(self, url: str) -> None:
        scheme, host = urlsplit(url)[:2]
        if scheme not in {"data", "blob"}:
            self.origins.add(f"{scheme}://{host}")


@dataclass(kw_only=True)
class Chromium:
    """A browser with a temporary profile."""

    browser: Browser
    tabs: list[Tab] = field(default_factory=list)

    def open(
        self, url: str, *, dark: bool = False, width: int = 1280, height: int = 900, **context: Any
    ) -> Tab:
        """Open ``url`` in a context of its own: no storage is shared. ``context`` goes to ``new_context``."""
        options = {
            "viewport": {"width": width, "height": height},
            "color_scheme": "dark" if dark else "light",
            "reduced_motion": "reduce",
            **context,
        }
        page = self.browser.new_context(**options).new_page()
        page.set_default_timeout(PATIENCE_MS)
        parts = urlsplit(url)
        tab = Tab(page=page, origin=f"{parts.scheme}://{parts.netloc}")
        page.on("console", tab._note_console)
        page.on("pageerror", lambda error: tab.errors.append(f"uncaught: {error}"))
        page.on("request", lambda request: tab._note_request(request.url))
        self.tabs.append(tab)
        page.goto(url)
        return tab

    def faults(self) -> list[str]:
        """The faults of every tab."""
        return [fault for tab in self.tabs for fault in tab.faults()]


@contextmanager
def running_chromium() -> Iterator[Chromium]:
    """Start the browser, and end it with all that it wrote."""
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 - heavy, and for few tests

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Without the sandbox, which root and many containers cannot have: the pages are our own.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), chromium_sandbox=False)
        try:
            yield Chromium(browser=browser)
        finally:
            browser.close()
