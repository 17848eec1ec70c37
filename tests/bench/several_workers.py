"""Several workers on one queue against one of their total size, JSON out.

``uv run python -m tests.bench.several_workers`` plays the model, seconds; ``... --real`` runs real workers
and a real daemon at its defaults, some forty minutes: share of the tasks that start within 5 s, and the 95th
percentile of their waits. ``--fixed`` has all workers at their maximum throughout: no size does better.
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
from typing import TYPE_CHECKING

from celery import Celery

from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until
from tests.support.cluster import ROOT, Cluster, Daemon, ticked
from tests.support.fleet_model import FleetModel, Tasks, poisson, regular

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET_SECONDS = 5.0
#: Processes of all workers together, at most and at least: several workers have one each from the start.
TOTAL, FLOOR = 16, 4


def model(given: argparse.Namespace) -> dict[str, object]:
    found: dict[str, object] = {}
    for multiplier in given.prefetch:
        for workers, most in ((1, 8), (4, 2)):
            tasks = regular(0.4, 8.0, seconds=120)
            name = f"8 s, 0.4/s: {workers} of {most}, prefetch {multiplier}"
            found[name] = FleetModel(workers, most, multiplier).run(tasks)._asdict()
    for load, multiplier, workers, seed in _cases(given):
        tasks, most = poisson(load, TOTAL, 2.0, seconds=900, seed=seed), TOTAL // workers
        fleet = FleetModel(
            workers,
            most,
            multiplier,
            min_processes=_begins_with(workers, fixed=given.fixed),
            warm_up_seconds=given.warm_up,
        )
        found[_name(load, multiplier, workers, seed)] = fleet.run(tasks)._asdict()
    return found


def _cases(given: argparse.Namespace) -> Iterator[tuple[float, int, int, int]]:
    return product(given.loads, given.prefetch, given.workers, given.seeds)


def _name(load: float, multiplier: int, workers: int, seed: int) -> str:
    return f"load {load:.0%}, 2 s: {workers} of {TOTAL // workers}, prefetch {multiplier}, seed {seed}"


def _begins_with(workers: int, *, fixed: bool) -> int:
    return (TOTAL if fixed else FLOOR) // workers


def real(
    workers: int, tasks: Tasks, *, multiplier: int = 1, fixed: bool = False, warm_up: float = 0.0
) -> dict[str, float]:
    """What real workers make of ``tasks``; nothing lost, nothing run twice."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        cluster = Cluster(folder, stack, stack.enter_context(RedisServer(folder / "redis")))
        size = _begins_with(workers, fixed=fixed)
        for number in range(workers):
            cluster.worker(f"w{number}@h", processes=size, PREFETCH=str(multiplier))
        if not fixed:
            start_daemon(cluster, size, TOTAL // workers)
        app = Celery("sender", broker=cluster.server.url, set_as_current=False)
        begun = time.time()
        for arrival, service in tasks:
            time.sleep(max(0.0, begun + arrival - time.time()))
            app.send_task("timed", args=[time.time(), service], ignore_result=True)
        app.close()
        count = len(tasks)
        wait_until(lambda: len(cluster.ended()) == count, within_seconds=120, what="the end of all tasks")
        started = [json.loads(line) for line in cluster.redis.lrange("waits", 0, -1)]
        waits = sorted(wait for sent_at, wait in started if sent_at >= begun + warm_up)
        lost, twice = cluster.lost_and_twice(count)
        return {
            "tasks": count,
            "counted": len(waits),
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
    parser.add_argument("--fixed", action="store_true", help="all workers at their maximum, no autoscaler")
    parser.add_argument("--loads", nargs="+", type=float, default=[0.3, 0.55, 0.8])
    parser.add_argument("--prefetch", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4], help="each of 16 / WORKERS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--seconds", type=float, default=120.0, help="of one real run")
    parser.add_argument("--warm-up", type=float, default=0.0, help="tasks of so many seconds do not count")
    given = parser.parse_args()
    if not given.real:
        print(json.dumps(model(given), indent=2))
        return
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}), flush=True)
    for load, multiplier, workers, seed in _cases(given):
        tasks = poisson(load, TOTAL, 2.0, seconds=given.seconds, seed=seed)
        found = real(workers, tasks, multiplier=multiplier, fixed=given.fixed, warm_up=given.warm_up)
        print(json.dumps({_name(load, multiplier, workers, seed): found}), flush=True)


if __name__ == "__main__":
    main()
