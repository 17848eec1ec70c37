"""How long a tick takes, and what the daemon costs: ``uv run python -m tests.bench.tick``.

Real servers, real workers, medians of many ticks; figures of one run on one machine, to compare within it.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import redis

from autoscaler.cli.compose import compose
from autoscaler.demo.embedded import RedisServer
from autoscaler.sensors.queues import KeyLayout, QueueSensor
from autoscaler.settings.load import load
from tests.support.cluster import Cluster

WORKERS, QUEUES = 5, 10
DAEMON_SECONDS = 30


def milliseconds(action, times: int) -> dict[str, float]:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    return {"p50_ms": round(statistics.median(taken), 2), "p95_ms": round(taken[int(len(taken) * 0.95)], 2)}


def ticks(cluster: Cluster) -> dict[str, float]:
    """Whole ticks over 5 workers with the companion and 10 queues."""
    flags = {"redis_url": cluster.server.url, "max": "4", "log_level": "error"}
    controller = compose(load(flags, {})).controller
    for _ in range(3):
        controller.tick()
    return milliseconds(controller.tick, 100)


def depths(url: str, count: int) -> dict[str, float]:
    """Depths of many queues of four steps each: one round trip."""
    client = redis.Redis.from_url(url)
    names = [f"queue-{number}" for number in range(count)]
    for name in names:
        client.rpush(name, "message")
    sensor = QueueSensor(lambda: client, KeyLayout(), "override")
    taken = milliseconds(lambda: sensor.read(names), 30)
    client.close()
    return taken


def daemon_cost(cluster: Cluster) -> dict[str, float]:
    """CPU time and resident memory of the daemon at an interval of 1 s over the same workers."""
    daemon = cluster.daemon(interval="1")
    process = psutil.Process(daemon.process.pid)
    time.sleep(5)  # the start is not what a day costs
    before = process.cpu_times()
    time.sleep(DAEMON_SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return {
        "cpu_seconds_per_minute": round(used * 60 / DAEMON_SECONDS, 2),
        "resident_mib": round(process.memory_info().rss / 2**20, 1),
    }


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis") as server,
        ExitStack() as stack,
    ):
        cluster = Cluster(folder=Path(folder), stack=stack, server=server)
        for number in range(WORKERS):
            queues = ",".join(f"q{queue}" for queue in range(number * 2, number * 2 + QUEUES // WORKERS))
            cluster.worker(f"w{number}@bench", "-Q", queues)
        result = {
            "tick of 10 queues and 5 workers (limit 50 ms)": ticks(cluster),
            "depths of 1000 queues of 4 steps (limit 100 ms)": depths(server.url, 1000),
            "daemon at 1 s": daemon_cost(cluster),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
