"""Several workers on one queue against one of their total size, JSON out.

``uv run python -m tests.bench.several_workers`` plays the model, seconds; ``... --real`` runs real workers
and a real daemon at its defaults, some forty minutes: share of the tasks that start within 5 s, and the 95th
percentile of their waits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from celery import Celery

from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until
from tests.support.cluster import ROOT, Cluster, Daemon, ticked
from tests.support.fleet_model import FleetModel, Tasks, poisson, regular

TARGET_SECONDS = 5.0
#: Processes of all workers together, at most and at least: several workers have one each from the start.
TOTAL, FLOOR = 16, 4
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
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        cluster = Cluster(folder, stack, stack.enter_context(RedisServer(folder / "redis")))
        for number in range(workers):
            cluster.worker(f"w{number}@h", processes=FLOOR // workers, PREFETCH=str(multiplier))
        start_daemon(cluster, FLOOR // workers, most)
        app = Celery("sender", broker=cluster.server.url, set_as_current=False)
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
            "tasks": count,
            "share": round(sum(wait <= TARGET_SECONDS for wait in waits) / len(waits), 4),
            "p95_seconds": round(waits[int(0.95 * len(waits))], 2),
            "longest_seconds": round(waits[-1], 2),
            "lost": lost,
            "twice": twice,
        }


def start_daemon(cluster: Cluster, least: int, most: int) -> None:
    """A daemon at its defaults; only what the machine would forbid is allowed."""
    listen = f"127.0.0.1:{free_port()}"
    allowed = ("--processes-per-core", "64", "--cpu-high", "1", "--throttled-high", "1")
    process = cluster.stack.enter_context(
        Process(
            (
                *(sys.executable, "-m", "autoscaler", "run", "--listen", listen),
                *("--min", str(least), "--max", str(most), *allowed),
            ),
            log_path=cluster.folder / "daemon.log",
            environment={"REDIS_URL": cluster.server.url},
            working_folder=ROOT,
        )
    )
    daemon = Daemon(process, f"http://{listen}")
    process.wait_until(lambda: ticked(daemon), within_seconds=60, what="the first tick")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", action="store_true", help="real workers")
    parser.add_argument("--loads", nargs="+", type=float, default=[0.3, 0.55, 0.8])
    parser.add_argument("--prefetch", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4], help="each of 16 / WORKERS")
    parser.add_argument("--seconds", type=float, default=120.0, help="of one real run")
    given = parser.parse_args()
    if not given.real:
        print(json.dumps(model(), indent=2))
        return
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}), flush=True)
    for load, multiplier, workers in product(given.loads, given.prefetch, given.workers):
        tasks, most = poisson(load, TOTAL, 2.0, seconds=given.seconds), TOTAL // workers
        found = real(workers, most, tasks, multiplier=multiplier)
        name = f"load {load:.0%}, 2 s: {workers} of {most}, prefetch {multiplier}"
        print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    main()
