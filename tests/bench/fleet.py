"""What one daemon costs over a large fleet, JSON out: ``uv run python -m tests.bench.fleet 10 100 1000``.

The fleet is made up: one process answers over a real Redis as so many companions do, with the report that a
real worker gave at the start of the run. Its workers share 100 queues (10 below 100 workers), and are idle.
Tick and resize are what the daemon itself exports; CPU and memory are those of its process; bytes are what
Redis counted less what the fleet's own process read and wrote. With ``--ticks`` the ticks alone are measured.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hiredis
import psutil
from celery import Celery

from autoscaler.cli.compose import compose
from autoscaler.cli.run import collect_after_ticks, collect_less
from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until
from autoscaler.settings.load import load
from tests.support.cluster import ROOT, Cluster, Daemon, ticked

SECONDS = 30
_CHUNK = 200


def name_of(number: int) -> str:
    return f"celery@pod-{number:04d}"


class Fleet:
    """Answers for ``count`` workers; runs in a process of its own."""

    def __init__(self, port: int, count: int, template: dict[str, Any], counters: Path) -> None:
        self._counters = counters
        self._read = self._written = 0
        self._listening, self._sending = self._connect(port), self._connect(port)
        self._reader = hiredis.Reader()
        self._sizes = dict.fromkeys(map(name_of, range(count)), 1)
        queues = 100 if count >= 100 else 10
        self._reports = {
            name: {**template, "queues": [f"q{number % queues}"]} for number, name in enumerate(self._sizes)
        }
        self._began = time.monotonic()

    def _connect(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port))

    def serve(self) -> None:
        members = [f"\x06\x16\x06\x16{name}.celery.pidbox" for name in self._sizes]
        self._send(self._sending, "SADD", "_kombu.binding.celery.pidbox", *members)
        self._acknowledged(1)
        self._send(self._listening, "SUBSCRIBE", "/0.celery.pidbox")
        while True:
            found = self._reader.gets()
            if found is False:
                data = self._listening.recv(1 << 20)
                if not data:
                    return
                self._read += len(data)
                self._reader.feed(data)
            elif found[0] == b"message":
                self._answer(json.loads(found[2]))
            self._counters.write_text(json.dumps([self._read, self._written]))

    def _answer(self, envelope: dict[str, Any]) -> None:
        asked = json.loads(base64.b64decode(envelope["body"]))
        if "reply_to" not in asked:
            return
        queue = f"{asked['reply_to']['routing_key']}.reply.celery.pidbox"
        names = self._sizes if asked["destination"] is None else asked["destination"]
        replies = [
            self._envelope(asked, {name: self._reply(name, asked)}) for name in names if name in self._sizes
        ]
        for start in range(0, len(replies), _CHUNK):
            self._send(self._sending, "LPUSH", queue, *replies[start : start + _CHUNK])
            self._acknowledged(1)

    def _reply(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] == "ping":
            return {"ok": "pong"}
        if asked["method"] == "pool_resize":
            was, self._sizes[name] = self._sizes[name], asked["arguments"]["size"]
            return {"ok": {"size": self._sizes[name], "was": was, "retiring": 0}}
        size, uptime = self._sizes[name], round(100 + time.monotonic() - self._began, 3)
        return {**self._reports[name], "size": size, "ready": size, "uptime_seconds": uptime}

    def _envelope(self, asked: dict[str, Any], body: dict[str, Any]) -> str:
        return json.dumps(
            {
                "body": base64.b64encode(json.dumps(body).encode()).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {"ticket": asked["ticket"], "clock": 1},
                "properties": {
                    "delivery_mode": 1,
                    "delivery_info": {
                        "exchange": asked["reply_to"]["exchange"],
                        "routing_key": asked["reply_to"]["routing_key"],
                    },
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": str(uuid.uuid4()),
                },
            }
        )

    def _send(self, connection: socket.socket, *words: str) -> None:
        data = hiredis.pack_command(words)
        connection.sendall(data)
        self._written += len(data)

    def _acknowledged(self, count: int) -> None:
        reader = hiredis.Reader()
        while count:
            data = self._sending.recv(1 << 16)
            self._read += len(data)
            reader.feed(data)
            while reader.gets() is not False:
                count -= 1


def template_of(cluster: Cluster) -> dict[str, Any]:
    """What a real worker with the companion reports."""
    worker = cluster.worker("model@bench")
    app = Celery("asks", broker=cluster.server.url, set_as_current=False)
    replies = app.control.inspect(destination=["model@bench"], limit=1, timeout=60)._request("pool_report")
    app.close()
    worker.stop()
    cluster.redis.flushall()
    return replies["model@bench"]


class Measured:
    """The counters of one daemon and of what Redis did for it."""

    def __init__(self, cluster: Cluster, daemon: Daemon, counters: Path) -> None:
        self._client, self._daemon, self._counters = cluster.redis, daemon, counters
        self._process = psutil.Process(daemon.process.pid)

    def now(self) -> dict[str, float]:
        used, info = self._process.cpu_times(), self._client.info("stats")
        read, written = json.loads(self._counters.read_text())
        return {
            "at": time.monotonic(),
            "cpu": used.user + used.system,
            "ticks": self._daemon.metric("tick_duration_seconds_count") or 0,
            "tick_seconds": self._daemon.metric("tick_duration_seconds_sum") or 0,
            "to_redis": info["total_net_input_bytes"] - written,
            "from_redis": info["total_net_output_bytes"] - read,
        }

    def rss(self) -> float:
        return round(self._process.memory_info().rss / 2**20, 1)

    def steady(self, seconds: float) -> dict[str, Any]:
        """A while of nothing to do."""
        before, single, at = self.now(), [], time.monotonic()
        while time.monotonic() < at + seconds:
            time.sleep(2)
            single.append(self._daemon.status()["tick_seconds"])
        after = self.now()
        passed = after["at"] - before["at"]
        ticks = after["ticks"] - before["ticks"]
        return {
            "tick_ms_p50": round(statistics.median(single) * 1000),
            "tick_ms_mean": round((after["tick_seconds"] - before["tick_seconds"]) / max(1, ticks) * 1000),
            "cores_with_a_read_of_status_each_2_s": round((after["cpu"] - before["cpu"]) / passed, 3),
            "kb_a_second_to_redis": round((after["to_redis"] - before["to_redis"]) / passed / 1000, 1),
            "kb_a_second_from_redis": round((after["from_redis"] - before["from_redis"]) / passed / 1000, 1),
        }

    def quiet(self, seconds: float) -> float:
        """Cores that the daemon uses while nobody reads its pages."""
        before, at = self._process.cpu_times(), time.monotonic()
        time.sleep(seconds)
        after = self._process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return round(used / (time.monotonic() - at), 3)

    def resize_all(self, count: int) -> dict[str, Any]:
        """One tick in which every worker is resized, by a ``min`` of an administrator."""
        self._client.set("autoscaler:default:override", json.dumps({"min": 2}))
        wait_until(lambda: self._done() >= count, within_seconds=120, what="all resizes")
        seconds = self._daemon.metric("action_duration_seconds_sum") or 0
        number = self._daemon.metric("action_duration_seconds_count") or 1
        return {"resizes": int(number), "ms_from_first_sent_to_last_known": round(seconds / number * 1000)}

    def _done(self) -> float:
        return self._daemon.metric("actions_total", action="grow", result="done") or 0


def answering(stack: ExitStack, cluster: Cluster, folder: Path, count: int) -> Path:
    """Begin a fleet of so many; returns the file with what it has read and written."""
    counters, template = folder / "counters", folder / "template"
    template.write_text(json.dumps(template_of(cluster)))
    port = cluster.server.url.rpartition(":")[2].partition("/")[0]
    stack.enter_context(
        Process(
            (sys.executable, "-m", "tests.bench.fleet", "--answer", port, template, counters, str(count)),
            log_path=folder / "fleet.log",
            working_folder=ROOT,
        )
    )
    wait_until(counters.exists, within_seconds=60, what="the fleet")
    return counters


def measure(count: int, python: str) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis") as server,
        ExitStack() as stack,
    ):
        cluster = Cluster(Path(folder), stack, server)
        counters = answering(stack, cluster, Path(folder), count)
        listen = f"127.0.0.1:{free_port()}"
        process = stack.enter_context(
            Process(
                (
                    python,
                    "-m",
                    "autoscaler",
                    "run",
                    "--listen",
                    listen,
                    "--max",
                    "4",
                    "--log-format",
                    "json",
                ),
                log_path=Path(folder) / "daemon.log",
                environment={"REDIS_URL": server.url},
                working_folder=ROOT,
            )
        )
        daemon = Daemon(process, f"http://{listen}")
        process.wait_until(lambda: ticked(daemon), within_seconds=60, what="the first tick")
        wait_until(
            lambda: len(daemon.status()["workers"]) == count, within_seconds=60, what="the whole fleet"
        )
        time.sleep(8)  # the first roll call
        measured = Measured(cluster, daemon, counters)
        found: dict[str, Any] = {"cores": measured.quiet(SECONDS), **measured.steady(SECONDS)}
        found["rss_mib"] = measured.rss()
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=20) as answer:
            found["metrics_kb"] = round(len(answer.read()) / 1000)
        found["rss_mib_after_a_scrape"] = measured.rss()
        return found | measured.resize_all(count) | {"rss_mib_at_the_end": measured.rss()}


def ticks(count: int, number: int = 20) -> dict[str, Any]:
    """The CPU time of so many ticks in a row within this process, where nothing is to be done."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis") as server,
        ExitStack() as stack,
    ):
        cluster = Cluster(Path(folder), stack, server)
        answering(stack, cluster, Path(folder), count)
        flags = {"redis_url": server.url, "max": "4", "log_level": "error"}
        controller = compose(load(flags, {}), daemon=True).controller
        collect_less()
        collect_after_ticks(count)
        deadline = time.monotonic() + 120
        while len(controller.tick().observation.workers) < count:
            assert time.monotonic() < deadline, "the fleet does not answer"
        taken = []
        for _ in range(number):
            begun = time.process_time()
            controller.tick()
            taken.append((time.process_time() - begun) * 1000)
        return {"best_ms": round(min(taken)), "p50_ms": round(statistics.median(taken))}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", nargs="*", type=int, default=[10, 100, 1000, 3000])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--ticks", action="store_true", help="the CPU time of ticks alone, in this process")
    given = parser.parse_args()
    for count in given.counts:
        found = ticks(count) if given.ticks else measure(count, given.python)
        print(json.dumps({f"{count} workers": found}, indent=2), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        PORT, TEMPLATE, COUNTERS, COUNT = sys.argv[2:]
        Fleet(int(PORT), int(COUNT), json.loads(Path(TEMPLATE).read_text()), Path(COUNTERS)).serve()
    else:
        main()
