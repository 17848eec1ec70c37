"""Draws the pages, light and dark: ``uv run python -m tests.support.screenshots``.

The autoscaler's page of a made-up hour, then the grid and the console of a real document service with its
worker and sample mails. The pictures under ``docs/`` are made by it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.demo.embedded import Process
from docservice.dev.samples import sample_files
from tests.docservice.conftest import fresh_database, run_api, running_servers
from tests.support.browser import running_chromium
from tests.support.page import MadeUpDaemon, eventful_hour
from tests.support.ticks import Ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docservice.conftest import Live
    from tests.support.browser import Chromium, Tab

FOLDER = Path(__file__).parents[2] / "docs"
WIDTH, HEIGHT = 1200, 1010


def draw(tab: Tab, name: str, *, dark: bool) -> None:
    path = FOLDER / f"{name}-{'dark' if dark else 'light'}.png"
    tab.page.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


def draw_page(chromium: Chromium) -> None:
    """The autoscaler's page."""
    daemon = MadeUpDaemon(Ticks(wall=time.time() - 3600, max_processes=10), name="documents")
    eventful_hour(daemon)
    with daemon.serving() as url:
        for dark in (False, True):
            tab = chromium.open(url, dark=dark, width=WIDTH, height=HEIGHT)
            tab.page.locator("#plot-wait canvas").wait_for()
            tab.page.get_by_text("live", exact=True).wait_for()
            draw(tab, "page", dark=dark)


@contextmanager
def document_service() -> Iterator[Live]:
    """An API with a worker."""
    with tempfile.TemporaryDirectory() as name, running_servers() as servers, fresh_database(servers) as url:
        folder = Path(name)
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": servers.redis.url,
            "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
        }
        command = (sys.executable, "-m", "docservice", "worker", "-c", "2", "-n", "documents@host-1")
        with (
            run_api(folder, environment) as live,
            Process(command, log_path=folder / "worker.log", environment=environment) as worker,
        ):
            worker.wait_until(lambda: " ready." in worker.log(), within_seconds=60, what="the worker's start")
            yield live


def entered(chromium: Chromium, live: Live, path: str, *, dark: bool) -> Tab:
    tab = chromium.open(f"{live.url}{path}", dark=dark, width=WIDTH, height=860)
    tab.page.get_by_label("API token").fill(live.tokens["system_admin"])
    tab.page.locator("#token-go").click()
    tab.page.locator("#content").wait_for()
    return tab


def draw_documents(chromium: Chromium, live: Live) -> None:
    """The grid and the console of the document service."""
    files = [("file", file) for file in sample_files(mails=24, pdfs=6)]
    with live.client("operator") as client:
        client.post("/modules/mail/documents", files=files).raise_for_status()

        def processed() -> bool:
            waiting = client.get("/modules/mail/grid?state=received&state=processing&limit=1").json()
            return bool(waiting["data"]["total"] == 0)

        live.process.wait_until(processed, within_seconds=120, what="the documents' end")
    for dark in (False, True):
        tab = entered(chromium, live, "/", dark=dark)
        tab.page.locator('.ag-cell[col-id="mail_number"]').first.wait_for()
        draw(tab, "grid", dark=dark)
        tab = entered(chromium, live, "/admin", dark=dark)
        tab.page.locator("#workers tr").first.wait_for()
        tab.page.locator("#audit tr").first.wait_for()
        draw(tab, "console", dark=dark)


def main() -> None:
    with document_service() as live, running_chromium() as chromium:
        draw_page(chromium)
        draw_documents(chromium, live)


if __name__ == "__main__":
    main()
