"""Drains under fast traffic: ``uv run python -m tests.bench.drains [COUNT]``; JSON out, 20 by default."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from autoscaler.demo.embedded import RedisServer
from tests.autoscaler.control.test_drain import drains_under_traffic
from tests.support.cluster import Cluster


def main(count: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis") as server,
        ExitStack() as stack,
    ):
        cluster = Cluster(folder=Path(folder), stack=stack, server=server)
        sent, lost, twice = drains_under_traffic(cluster, count)
    print(json.dumps({"drains": count, "sent": sent, "lost": lost, "run_twice": twice}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
