"""The page as a person sees it: a real browser on real daemons and workers, and on made-up fleets."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.builders import look, queue, worker
from tests.support.page import MadeUpDaemon, eventful_hour
from tests.support.programs import needs
from tests.support.ticks import Ticks, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.support.browser import Chromium
    from tests.support.cluster import Cluster

pytestmark = needs("chromium")

#: What a browser says of a daemon that is not there.
GONE = (
    r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|Failed to fetch"
)
HOSTILE = "<img src=x onerror=alert(1)>"


def cells(page: Page, table: str, row: int) -> list[str]:
    return page.locator(f"#{table} tr").nth(row).locator("th, td").all_inner_texts()


def live(page: Page) -> None:
    expect(page.get_by_text("live", exact=True)).to_be_visible()


@dataclass
class Served:
    daemon: MadeUpDaemon
    url: str


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The page of a daemon with an outage behind it, which no test changes."""
    daemon = made_up(wall=time.time() - 900)
    eventful_hour(daemon, first=1350)
    with daemon.serving() as url:
        yield Served(daemon, url)


def made_up(*, wall: float | None = None) -> MadeUpDaemon:
    return MadeUpDaemon(Ticks(wall=time.time() if wall is None else wall))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_real_worker_is_seen_to_grow_to_lose_redis_and_to_go_on_with_its_history(
    cluster: Cluster, chromium: Chromium
) -> None:
    cluster.worker(processes=1)
    # A target that a process which starts slowly can keep: else the size would be held for an hour.
    daemon = cluster.daemon("--base-path", "/scaler", target_wait="10s")
    tab = chromium.open(f"{daemon.page}/scaler/")
    tab.expect_errors(GONE)
    page = tab.page
    live(page)
    cluster.hold(8)

    page.locator("#workers").scroll_into_view_if_needed()  # tables are written while they are in view
    expect(page.locator("#workers")).to_contain_text("6 of 6 busy")
    expect(page.locator("#sentence")).to_contain_text(re.compile(r"Last change .* → 6"))
    page.locator("#queues").scroll_into_view_if_needed()
    expect(page.locator("#queues th")).to_have_text("celery")
    page.locator("#workers").scroll_into_view_if_needed()
    cluster.release()
    expect(page.locator("#workers")).to_contain_text("0 of 1 busy")
    page.get_by_text("Actions in this span").click()
    expect(page.locator("#actions tr").first).to_contain_text("the size at which waiting tasks start")

    cluster.server.stop()
    expect(page.locator("#sentence")).to_contain_text("Redis cannot be read")
    expect(page.locator("#conditions")).to_contain_text("backlog")
    page.wait_for_function(
        "fetch('history?since=15m').then(a => a.json())"
        ".then(h => h.columns.flags.some((f, n) => f === 2 && h.columns.waiting[n] === null))"
    )
    cluster.server.start()
    expect(page.locator("#sentence")).not_to_contain_text("Redis cannot be read")

    address = daemon.page.removeprefix("http://")
    daemon.process.stop()
    expect(page.locator("#link")).to_contain_text("asking again")
    cluster.daemon("--base-path", "/scaler", "--listen", address, wait=False, target_wait="2s")
    live(page)
    known = page.evaluate(
        "fetch('history?since=15m').then(a => a.json())"
        ".then(h => [h.actions.length, h.summary.peak_processes])"
    )
    assert known[0] >= 2
    assert known[1] == 6


def test_hostile_names_stay_text(chromium: Chromium) -> None:
    reverse, long = "\u202eevil\u202d@h", "w" * 300 + "@h"
    daemon = made_up()
    queues = (queue(3, HOSTILE), queue(0, "<script>alert(2)</script>"))
    names = [worker(name, queues=(HOSTILE,), companion=False) for name in (HOSTILE, reverse, long)]
    daemon.take(look(None, *names, queues=queues))
    with daemon.serving() as url:
        tab = chromium.open(url, width=360)
        live(tab.page)
        shown = [cells(tab.page, "workers", row)[0] for row in range(3)]
        assert shown == [HOSTILE, "w" * 119 + "…", reverse]
        assert cells(tab.page, "queues", 0)[0] == HOSTILE
        assert tab.page.locator("main img, main script").count() == 0
        assert tab.page.locator("bdi").count() >= 5, "a name that turns the direction turns itself alone"
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_on_the_page_keeps_somebody_from_using_it(
    chromium: Chromium, served: Served, *, dark: bool
) -> None:
    tab = chromium.open(served.url, dark=dark)
    live(tab.page)
    for summary in ("Actions in this span", "The numbers of the chart"):
        tab.page.get_by_text(summary).click()
    expect(tab.page.locator("#numbers tr")).not_to_have_count(0)
    assert tab.accessibility_faults() == []
    tab.page.keyboard.press("Tab")
    landmarks = {tab.page.locator(name).count() for name in ("header", "main", "footer", "h1")}
    assert landmarks == {1}


def test_the_page_is_used_by_keyboard_alone(chromium: Chromium, served: Served) -> None:
    page = chromium.open(served.url).page
    live(page)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the chart")
    page.keyboard.press("Enter")
    for name in ("15 min", "1 h", "6 h"):
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text(name)
    with page.expect_response(re.compile("since=6h")):
        page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="6 h", exact=True)).to_have_attribute("aria-pressed", "true")


def test_an_action_says_from_to_reason_and_outcome_where_the_mouse_is(
    chromium: Chromium, served: Served
) -> None:
    last = served.daemon.history.view(3600, served.daemon.ticks.wall)["actions"][-1]  # type: ignore[index]
    page = chromium.open(served.url).page
    live(page)
    over = page.locator("#plot-processes .u-over")
    box = over.bounding_box()
    assert box is not None
    share = 1 - (served.daemon.ticks.wall - last["at"]) / 3600
    over.hover(position={"x": box["width"] * share, "y": box["height"] / 2})
    tip = page.locator("#tip")
    expect(tip).to_contain_text(
        f"{last['worker']} {last['before']} → {last['target']}, done: {last['reason']}, "
    )
    expect(tip).to_contain_text(last["why"])


def test_the_steps_of_a_decision_are_shown_with_their_numbers(chromium: Chromium) -> None:
    daemon = MadeUpDaemon(Ticks(wall=time.time(), max_processes=6))
    daemon.take(look(40, worker("a@h", 4, busy=4)))
    daemon.take(look(80, worker("a@h", 4, busy=4), at=1002.0))
    daemon.take(look(80, worker("a@h", 4, busy=4), at=1004.0))
    with daemon.serving() as url:
        page = chromium.open(url).page
        live(page)
        steps = page.locator("#why .steps li")
        expect(steps).to_have_count(9)
        expect(steps.nth(5)).to_have_text(re.compile(r"min and max6at_max: .*must be 1 to 6"))
        expect(steps.nth(8)).to_have_text(re.compile("gates6"))


def test_a_hundred_workers_and_fifty_queues_fit_the_narrowest_screen_and_can_be_filtered(
    chromium: Chromium,
) -> None:
    daemon = made_up()
    daemon.take(fleet(100, 50))
    with daemon.serving() as url:
        tab = chromium.open(url, width=360, height=640)
        live(tab.page)
        expect(tab.page.locator("#workers tr")).to_have_count(100)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
        tab.page.get_by_label("Filter").fill("worker-04")
        expect(tab.page.locator("#workers tr:visible")).to_have_count(10)
