"""Draws the page of a made-up hour, light and dark: ``uv run python -m tests.support.screenshots``.

The pictures under ``docs/`` are made by it.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.browser import running_chromium
from tests.support.page import MadeUpDaemon, eventful_hour
from tests.support.ticks import Ticks

FOLDER = Path(__file__).parents[2] / "docs"
WIDTH, HEIGHT = 1200, 1010


def main() -> None:
    daemon = MadeUpDaemon(Ticks(wall=time.time() - 3600, max_processes=10), name="documents")
    eventful_hour(daemon)
    with daemon.serving() as url, running_chromium() as chromium:
        for dark in (False, True):
            tab = chromium.open(url, dark=dark, width=WIDTH, height=HEIGHT)
            tab.page.locator("#plot-wait canvas").wait_for()
            tab.page.get_by_text("live", exact=True).wait_for()
            path = FOLDER / f"page-{'dark' if dark else 'light'}.png"
            tab.page.screenshot(path=path)
            print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
