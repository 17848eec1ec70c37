"""What the page costs: the daemon's memory, bytes of a tick, and the browser's main thread.

``uv run python -m tests.bench.page`` needs Chromium and takes about three minutes. The fleet is made up: 100
workers, 50 queues, a tick every 2 seconds, an hour of history behind it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil

from autoscaler.demo.embedded import RedisServer
from autoscaler.report.streams import event
from tests.support.browser import running_chromium
from tests.support.cluster import Cluster
from tests.support.page import MadeUpDaemon
from tests.support.ticks import Ticks, fleet

INTERVAL_SECONDS = 2.0


def main_thread(seconds: float) -> None:
    """Milliseconds of CPU time of the browser's main thread a minute, by Chromium's own count."""
    daemon = MadeUpDaemon(Ticks(wall=time.time() - 600))
    for number in range(1500, 1800):
        daemon.take(fleet(100, 50, at=1000.0 + 2 * number, busy=number % 4, groups=5))
    stop = threading.Event()

    def tick() -> None:
        number = 1800
        while not stop.wait(INTERVAL_SECONDS):
            number += 1
            daemon.ticks.wall = time.time() - INTERVAL_SECONDS
            daemon.take(fleet(100, 50, at=1000.0 + 2 * number, busy=number % 4, groups=5))

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        with daemon.serving() as url, running_chromium() as chromium:
            tab = chromium.open(url)
            tab.page.get_by_text("live", exact=True).wait_for()
            tab.page.wait_for_timeout(5000)
            session = tab.page.context.new_cdp_session(tab.page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            before = metrics(session)
            tab.page.wait_for_timeout(seconds * 1000)
            after = metrics(session)
            share = {
                name: (after[name] - before[name]) * 1000 * 60 / seconds
                for name in ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
            }
            print(f"bytes of a tick: {len(event(daemon._live()))}")
            print("main thread, ms a minute:", {name: round(value) for name, value in share.items()})
            print(f"heap of the page: {after['JSHeapUsedSize'] / 1048576:.1f} MiB; faults: {tab.faults()}")
    finally:
        stop.set()
        thread.join()


def metrics(session) -> dict[str, float]:
    return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}


def memory(seconds: float) -> None:
    """Resident memory of a real daemon without and with one page that follows it, over the same time."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(RedisServer(Path(folder) / "redis"))
        cluster = Cluster(folder=Path(folder), stack=stack, server=server)
        cluster.worker(processes=1)
        quiet, followed = (cluster.daemon("--name", name, "--dry-run", interval="0.5") for name in "ab")
        reader = threading.Thread(target=follow, args=(followed.page, seconds))
        before = [rss(one.process) for one in (quiet, followed)]
        with running_chromium() as chromium:
            chromium.open(f"{followed.page}/")
            reader.start()
            time.sleep(seconds)
            after = [rss(one.process) for one in (quiet, followed)]
        reader.join()
    grown = [late - early for early, late in zip(before, after, strict=True)]
    print(f"MiB before {before}, after {after}: the page costs {grown[1] - grown[0]:.2f} MiB")


def follow(page: str, seconds: float) -> None:
    """A second reader, and the history of a day once a second."""
    until = time.monotonic() + seconds - 1
    with urllib.request.urlopen(f"{page}/events", timeout=10) as events:
        while time.monotonic() < until:
            events.read1(65_536)
            with urllib.request.urlopen(f"{page}/history?since=24h", timeout=10) as view:
                view.read()
            time.sleep(1)


def rss(process) -> float:
    return round(psutil.Process(process.pid).memory_info().rss / 1048576, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    memory(seconds)
    main_thread(seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
