"""Several workers on one queue against one of their total size, JSON out.

``uv run python -m tests.bench.several_workers`` plays the model, seconds; ``... --real`` runs real workers
and a real daemon at its defaults, some ten minutes: share of the tasks that start within 5 s, and the 95th
percentile of their waits.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from celery import Celery

from autoscaler.demo.embedded import RedisServer, wait_until
from tests.support.cluster import Cluster
from tests.support.fleet_model import FleetModel, Tasks, poisson, regular

TARGET_SECONDS = 5.0
SHAPES = ((1, 16), (2, 8), (4, 4))


def model() -> dict[str, object]:
    found: dict[str, object] = {}
    for multiplier in (1, 4):
        for workers, most in ((1, 8), (4, 2)):
            tasks = regular(0.4, 8.0, seconds=120)
            name = f"8 s, 0.4/s: {workers} of {most}, prefetch {multiplier}"
            found[name] = FleetModel(workers, most, multiplier).run(tasks)._asdict()
        for load in (0.3, 0.5, 0.8):
            for workers, most in SHAPES:
                tasks = poisson(load, 16, 2.0, seconds=900)
                name = f"load {load:.0%}, 2 s: {workers} of {most}, prefetch {multiplier}"
                found[name] = FleetModel(workers, most, multiplier).run(tasks)._asdict()
    return found


def real(workers: int, most: int, tasks: Tasks, *, multiplier: int = 1) -> dict[str, float]:
    """What real workers make of ``tasks``; nothing lost, nothing run twice."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(RedisServer(Path(folder) / "redis"))
        cluster = Cluster(Path(folder), stack, server)
        for number in range(workers):
            cluster.worker(f"w{number}@h", PREFETCH=str(multiplier))
        cluster.daemon(
            "--target-wait",
            f"{TARGET_SECONDS:g}s",
            max=str(most),
            interval="2",
            processes_per_core="64",
            cpu_high="1",
            throttled_high="1",
        )
        app = Celery("sender", broker=server.url, set_as_current=False)
        begun = time.time()
        for arrival, service in tasks:
            time.sleep(max(0.0, begun + arrival - time.time()))
            app.send_task("timed", args=[time.time(), service], ignore_result=True)
        app.close()
        count = len(tasks)
        wait_until(lambda: len(cluster.ended()) == count, within_seconds=120, what="the end of all tasks")
        waits = sorted(float(wait) for wait in cluster.redis.lrange("waits", 0, -1))
        lost, twice = cluster.lost_and_twice(count)
        return {
            "share": sum(wait <= TARGET_SECONDS for wait in waits) / len(waits),
            "p95_seconds": round(waits[int(0.95 * len(waits))], 2),
            "longest_seconds": round(waits[-1], 2),
            "lost": lost,
            "twice": twice,
        }


def main() -> None:
    if "--real" not in sys.argv[1:]:
        print(json.dumps(model(), indent=2))
        return
    for workers, most in ((1, 8), (4, 2)):
        found = real(workers, most, regular(0.4, 8.0, seconds=120))
        print(json.dumps({f"8 s, 0.4/s: {workers} of {most}": found}), flush=True)
    for load in (0.3, 0.5, 0.8):
        for workers, most in SHAPES:
            found = real(workers, most, poisson(load, 16, 2.0, seconds=120))
            print(json.dumps({f"load {load:.0%}, 2 s: {workers} of {most}": found}), flush=True)


if __name__ == "__main__":
    main()
