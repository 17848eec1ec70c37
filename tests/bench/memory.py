"""What the daemon holds in memory, part by part, and what the companion adds to a worker, JSON out.

``uv run python -m tests.bench.memory``: three workers, a scrape each 5 s, two minutes. ``--python PATH`` runs
the daemon in another environment, best in one that holds its dependencies alone; ``--set NAME=VALUE`` sets a
variable for it; ``--companion`` measures the companion instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from autoscaler.demo.embedded import Process, RedisServer, free_port
from tests.support.cluster import ROOT, Cluster, Daemon, ticked

WORKERS, SCRAPE_SECONDS = 3, 5
MIB = 2**20
#: Imported one after another; each costs what the ones before it have not loaded.
PARTS = (
    "psutil",
    "click",
    "structlog",
    "prometheus_client",
    "redis",
    "kombu.transport.redis",
    "autoscaler.cli.run",
)
_COST_OF_PARTS = """
import importlib, json, sys
def rss():
    with open('/proc/self/smaps_rollup') as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('Rss:'))
found = {'python': rss()}
for part in sys.argv[1:]:
    before = rss()
    importlib.import_module(part)
    found[part] = rss() - before
print(json.dumps(found))
"""
_VERSIONS = (
    "import redis, celery, sys; print('python', sys.version.split()[0],"
    " 'redis', redis.__version__, 'celery', celery.__version__)"
)


def cost_of_parts(python: str) -> dict[str, float]:
    """MiB that each import adds, in the order of :data:`PARTS`."""
    found = json.loads(_output(python, _COST_OF_PARTS, *PARTS))
    return {part: round(size / MIB, 1) for part, size in found.items()}


def daemon_memory(
    cluster: Cluster, python: str, seconds: float, variables: dict[str, str]
) -> dict[str, object]:
    """MiB of a daemon that is scraped as Prometheus does, after a while and at its largest."""
    listen = f"127.0.0.1:{free_port()}"
    process = cluster.stack.enter_context(
        Process(
            (python, "-m", "autoscaler", "run", "--listen", listen, "--max", "4", "--log-format", "json"),
            log_path=cluster.folder / "daemon.log",
            environment={"REDIS_URL": cluster.server.url, **variables},
            working_folder=ROOT,
        )
    )
    daemon, watched = Daemon(process, f"http://{listen}"), psutil.Process(process.pid)
    process.wait_until(lambda: ticked(daemon), within_seconds=60, what="the first tick")
    at_start, began = watched.memory_info().rss, time.monotonic()
    seen: list[int] = []
    while time.monotonic() < began + seconds:
        daemon.get("/metrics")
        seen.append(watched.memory_info().rss)
        time.sleep(SCRAPE_SECONDS)
    held, used = watched.memory_full_info(), watched.cpu_times()
    return {
        "after_first_tick_mib": round(at_start / MIB, 1),
        "rss_mib": round(held.rss / MIB, 1),
        "largest_rss_mib": round(max(seen) / MIB, 1),
        "rss_each_minute_mib": [round(rss / MIB, 1) for rss in seen[:: round(60 / SCRAPE_SECONDS)]],
        "of_its_own_mib": round(held.uss / MIB, 1),
        "of_files_mib": round(held.shared / MIB, 1),
        "threads": watched.num_threads(),
        "cpu_seconds": round(used.user + used.system, 2),
    }


def companion_cost(cluster: Cluster, rounds: int) -> dict[str, object]:
    """KiB and CPU of a resting worker with the companion and without, in turns; medians and ranges."""
    found: dict[str, dict[str, list[float]]] = {"with": {}, "without": {}}
    for number in range(rounds):
        for kind, companion in (("with", True), ("without", False)):
            process = cluster.worker(f"{kind}{number}@h", companion=companion)
            time.sleep(3)
            main = psutil.Process(process.pid)
            (child,) = main.children()
            before = main.cpu_times()
            time.sleep(15)
            after = main.cpu_times()
            values = found[kind]
            values.setdefault("worker_kib", []).append(main.memory_info().rss / 1024)
            values.setdefault("worker_own_kib", []).append(main.memory_full_info().uss / 1024)
            values.setdefault("child_kib", []).append(child.memory_info().rss / 1024)
            used = after.user + after.system - before.user - before.system
            values.setdefault("cpu_ms_in_15_s", []).append(used * 1000)
            process.stop()
    pairs = {
        name: [one - other for one, other in zip(found["with"][name], found["without"][name], strict=True)]
        for name in found["with"]
    }
    return {
        "added": {name: _spread(values) for name, values in pairs.items()},
        "without": {name: _spread(values) for name, values in found["without"].items()},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values)),
        "low": round(min(values)),
        "high": round(max(values)),
    }


def _output(python: str, code: str, *words: str) -> str:
    done = subprocess.run((python, "-c", code, *words), capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--companion", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis") as server,
        ExitStack() as stack,
    ):
        cluster = Cluster(folder=Path(folder), stack=stack, server=server)
        if given.companion:
            print(json.dumps(companion_cost(cluster, rounds=5), indent=2))
            return
        for number in range(WORKERS):
            cluster.worker(f"w{number}@bench", "-Q", f"q{number}")
        variables = dict(pair.split("=", 1) for pair in given.set)
        result = {
            "runs on": _output(given.python, _VERSIONS),
            "imports_mib": cost_of_parts(given.python),
            "daemon": daemon_memory(cluster, given.python, given.seconds, variables),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
