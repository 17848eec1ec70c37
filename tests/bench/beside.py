"""What the daemon costs beside celery-exporter and Flower, JSON out: ``uv run python -m tests.bench.beside``.

    uv venv PEERS && uv pip install --python PEERS/bin/python flower prometheus-exporter-celery
    uv run python -m tests.bench.beside --peers PEERS 1 10 100

All watch one made-up fleet at once (:mod:`tests.bench.talking_fleet`), idle and then busy, and each is
scraped each 15 s. Each reaches Redis through a proxy of its own that counts commands, bytes and connections.
Messages wait all the time while it is busy, which is when the daemon looks most often. A second daemon that
sends nothing looks at fixed distances: ``--min-interval`` as long as ``--interval``. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import psutil

from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until
from tests.bench.talking_fleet import record
from tests.support.cluster import ROOT, Cluster
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRAPE_SECONDS = 15.0
STATES = ("idle", "busy")
_WITHIN_SECONDS = 120.0
_WAITING = 5


class CountingProxy(Proxy):
    """Counts what goes through it."""

    def __init__(self, port: int) -> None:
        self.commands = self.bytes_to = self.bytes_from = self.opened = 0
        self._readers: dict[Any, hiredis.Reader] = {}
        super().__init__(port)

    def passed(self, sender: Any, data: bytes, *, answer: bool) -> None:
        if answer:
            self.bytes_from += len(data)
            return
        self.bytes_to += len(data)
        if sender not in self._readers:
            self.opened += 1
            self._readers[sender] = hiredis.Reader()
        reader = self._readers[sender]
        reader.feed(data)
        while reader.gets() is not False:
            self.commands += 1

    def counts(self) -> dict[str, float]:
        return {
            "commands": self.commands,
            "kB to Redis": self.bytes_to / 1000,
            "kB from Redis": self.bytes_from / 1000,
            "connections opened": self.opened,
        }


@dataclass
class Watcher:
    """One of those that are compared."""

    name: str
    proxy: CountingProxy
    process: Process
    page: str

    def __post_init__(self) -> None:
        self._usage = psutil.Process(self.process.pid)

    def scrape(self) -> str:
        with urllib.request.urlopen(self.page, timeout=30) as answer:
            return str(answer.read().decode())

    def counts(self) -> dict[str, float]:
        used = self._usage.cpu_times()
        return {**self.proxy.counts(), "CPU ms": 1000 * (used.user + used.system)}

    @property
    def connections(self) -> int:
        found = self._usage.net_connections("tcp")
        return sum(one.raddr != () and one.raddr.port == self.proxy.port for one in found)


class Compared:
    """Those that watch one fleet, each over a proxy of its own."""

    def __init__(self, cluster: Cluster, peers: Path) -> None:
        self._cluster, self._peers = cluster, peers
        self._port = int(cluster.server.url.rpartition(":")[2].partition("/")[0])

    def start(self) -> list[Watcher]:
        run = (sys.executable, "-m", "autoscaler", "run", "--max", "4", "--log-format", "json")
        python = self._peers.absolute() / "bin" / "python"
        exporter = "from src.cli import cli; cli()"
        return [
            self._watcher("the daemon", lambda url, listen: (*run, "--redis-url", url, "--listen", listen)),
            self._watcher(
                "the daemon at fixed distances",
                lambda url, listen: (
                    *(*run, "--redis-url", url, "--listen", listen),
                    *("--name", "fixed", "--dry-run", "--min-interval", "2"),
                ),
            ),
            self._watcher(
                "celery-exporter",
                lambda url, listen: (
                    *(python, "-c", exporter, "--broker-url", url),
                    *("--host", "127.0.0.1", "--port", listen.rpartition(":")[2]),
                ),
                working_folder=self._cluster.folder,  # its package is called src
            ),
            self._watcher(
                "Flower",
                lambda url, listen: (
                    *(python, "-m", "celery", "--broker", url, "flower", "--address=127.0.0.1"),
                    f"--port={listen.rpartition(':')[2]}",
                ),
                working_folder=self._cluster.folder,
            ),
        ]

    def _watcher(self, name: str, command: Any, *, working_folder: Path = ROOT) -> Watcher:
        proxy = self._cluster.stack.enter_context(CountingProxy(self._port))
        listen = f"127.0.0.1:{free_port()}"
        process = self._cluster.stack.enter_context(
            Process(
                command(f"redis://127.0.0.1:{proxy.port}/0", listen),
                log_path=self._cluster.folder / f"{name.replace(' ', '-')}.log",
                working_folder=working_folder,
            )
        )
        return Watcher(name, proxy, process, f"http://{listen}/metrics")


def sees(watcher: Watcher, count: int) -> bool:
    """Whether its page names that many workers."""
    with suppress(OSError):
        page = watcher.scrape()
        return sum(f"pod-{number:04d}" in page for number in range(count)) == count
    return False


def round_of(watchers: Sequence[Watcher], seconds: float) -> dict[str, dict[str, float]]:
    """What each takes in a while, by the second (CPU too: 10 ms a second are 1 % of a core)."""
    before, begun = [watcher.counts() for watcher in watchers], time.monotonic()
    connections = [0] * len(watchers)
    for number in range(int(seconds / SCRAPE_SECONDS)):
        time.sleep(max(0.0, begun + (number + 0.5) * SCRAPE_SECONDS - time.monotonic()))
        connections = [
            max(pair) for pair in zip(connections, (one.connections for one in watchers), strict=True)
        ]
        for watcher in watchers:
            watcher.scrape()
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
    after, passed = [watcher.counts() for watcher in watchers], time.monotonic() - begun
    return {
        watcher.name: {
            **{key: (later[key] - earlier[key]) / passed for key in earlier},
            "connections open": most,
        }
        for watcher, earlier, later, most in zip(watchers, before, after, connections, strict=True)
    }


def measure(count: int, state: str, given: argparse.Namespace) -> dict[str, Any]:
    """Medians of the rounds, and their ranges."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        cluster = Cluster(folder, stack, stack.enter_context(RedisServer(folder / "redis")))
        recorded, counters = folder / "recorded", folder / "counters"
        recorded.write_text(json.dumps(record(cluster)))
        port = cluster.server.url.rpartition(":")[2].partition("/")[0]
        stack.enter_context(
            Process(
                (
                    sys.executable,
                    "-m",
                    "tests.bench.talking_fleet",
                    port,
                    recorded,
                    counters,
                    str(count),
                    state,
                ),
                log_path=folder / "fleet.log",
                working_folder=ROOT,
            )
        )
        wait_until(counters.exists, within_seconds=_WITHIN_SECONDS, what="the fleet")
        watchers = Compared(cluster, given.peers).start()
        for watcher in watchers:
            watcher.process.wait_until(
                lambda one=watcher: sees(one, count), within_seconds=_WITHIN_SECONDS, what=watcher.name
            )
        if state == "busy":
            for number in range(100 if count >= 100 else 10):
                cluster.send(_WAITING, 1.0, queue=f"q{number}")
        time.sleep(given.settle)
        rounds = [round_of(watchers, given.seconds) for _ in range(given.rounds)]
    return {
        watcher.name: {
            key: spread([one[watcher.name][key] for one in rounds]) for key in rounds[0][watcher.name]
        }
        for watcher in watchers
    }


def spread(values: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [round(value, 2) for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", nargs="*", type=int, default=[1, 10, 100])
    parser.add_argument("--peers", type=Path, required=True, help="environment with the two others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of one round")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds before the first round")
    given = parser.parse_args()
    for count in given.counts:
        for state in STATES:
            print(json.dumps({f"{count} workers, {state}": measure(count, state, given)}), flush=True)


if __name__ == "__main__":
    main()
