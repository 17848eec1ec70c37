"""What ``pool_report`` takes of a worker's loop, JSON out: ``uv run python -m tests.bench.report 1 8 64``.

A real prefork worker of so many processes calls the command many times in a row where it would answer it, and
reports the CPU time of its thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from celery import Celery
from celery.worker.control import inspect_command

from autoscaler.demo.embedded import RedisServer
from autoscaler.worker.commands import pool_report
from tests.support.cluster import Cluster

CALLS = 300


@inspect_command()  # type: ignore[untyped-decorator]
def time_pool_report(state: Any) -> dict[str, Any]:
    """Milliseconds of CPU that one call takes; loaded into the worker beside the companion."""
    taken = []
    for _ in range(CALLS):
        begun = time.thread_time()
        pool_report(state)
        taken.append((time.thread_time() - begun) * 1000)
    taken.sort()
    return {
        "cpu_ms_p50": round(statistics.median(taken), 3),
        "cpu_ms_p95": round(taken[int(CALLS * 0.95)], 3),
    }


def cost(cluster: Cluster, processes: int) -> dict[str, Any]:
    """The time of a call in a worker of so many processes."""
    name = f"w{processes}@bench"
    worker = cluster.worker(name, "-I", "tests.bench.report", processes=processes)
    app = Celery("asks", broker=cluster.server.url, set_as_current=False)
    found = app.control.inspect(destination=[name], limit=1, timeout=60)._request("time_pool_report")[name]
    app.close()
    worker.stop()
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("processes", nargs="*", type=int, default=[1, 8, 64])
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis") as server,
        ExitStack() as stack,
    ):
        cluster = Cluster(folder=Path(folder), stack=stack, server=server)
        print(json.dumps({f"{size} processes": cost(cluster, size) for size in given.processes}, indent=2))


if __name__ == "__main__":
    main()
