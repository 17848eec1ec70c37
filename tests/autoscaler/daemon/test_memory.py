"""The daemon over real workers in real control groups (v1) of little memory: it avoids the OOM killer.

Each group holds one worker and at most 300 MiB, so that only processes of that worker are ever ended.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from autoscaler.demo.embedded import Process
from tests.support.cluster import ROOT, started
from tests.support.memory_group import MIB, can_be_made, entering, memory_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.cluster import Cluster, Daemon
    from tests.support.memory_group import MemoryGroup

W1 = "w1@h"
WITHIN_SECONDS = 240
_numbers = itertools.count()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.host,
    pytest.mark.timeout(WITHIN_SECONDS + 60),
    pytest.mark.skipif(
        not can_be_made(),
        reason="makes real v1 groups: needs root and a writable /sys/fs/cgroup/memory",
    ),
]
acks = pytest.mark.parametrize("late", [False, True], ids=["early acks", "late acks"])


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    """A group of 300 MiB."""
    with memory_group(300) as made:
        yield made


def start_worker(
    cluster: Cluster,
    group: MemoryGroup,
    *,
    late: bool,
    processes: int = 1,
    other_groups: Sequence[Path] = (),
    **conf: object,
) -> Process:
    """A prefork worker that lives in the group, and in those of other controllers, from its start."""
    number = next(_numbers)
    words = (
        *(sys.executable, "-m", "celery", "-A", "tests.support.worker_app", "worker", "-n", W1),
        *("-c", str(processes), "--loglevel", "INFO", "--without-mingle", "-I", "autoscaler.companion"),
    )
    process = cluster.stack.enter_context(
        Process(
            (*entering(group.folder, *other_groups), *words),
            log_path=cluster.folder / f"memory-worker-{number}.log",
            environment={
                "BROKER": cluster.server.url,
                "LEDGER": cluster.server.url,
                "TMPDIR": str(cluster.folder),
                "SETTINGS": json.dumps({"task_acks_late": late, **conf}),
            },
            working_folder=ROOT,
            stop_signal=signal.SIGKILL,
        )
    )
    process.wait_until(lambda: "ready." in process.log(), within_seconds=60, what="the start of the worker")
    return process


def start_daemon(cluster: Cluster, *words: str) -> Daemon:
    """The daemon as it is by default, but for the maximum."""
    return cluster.daemon(
        "--target-wait", "5s", "--stabilization-window", "30", *words, max="8", interval="1"
    )


def send(cluster: Cluster, name: str, arguments: list[tuple[object, ...]]) -> None:
    app = Celery("sender", broker=cluster.server.url, set_as_current=False)
    for each in arguments:
        app.send_task(name, args=list(each), queue="celery", ignore_result=True)
    app.close()


def settled(cluster: Cluster) -> Callable[[], bool]:
    """Whether nothing waits, is fetched or runs any more."""

    def look() -> bool:
        redis = cluster.redis
        left = sum(redis.llen(f"celery{step}") for step in ("", "\x06\x163", "\x06\x166", "\x06\x169"))
        return left + redis.hlen("unacked") == 0

    return look


def runs_nothing(cluster: Cluster) -> bool:
    """Whether the worker itself says so: what the daemon last read may be older than the last task."""
    app = Celery("asker", broker=cluster.server.url, set_as_current=False)
    try:
        return app.control.inspect(destination=[W1], timeout=5).active() == {W1: []}
    finally:
        app.close()


def report(title: str, cluster: Cluster, group: MemoryGroup, daemon: Daemon, sent: int) -> dict[str, object]:
    """The figures of one run; ``pytest -s`` shows them."""
    lost, twice = cluster.lost_and_twice(sent)
    found = {
        "kills": group.oom_kills,
        "lost": lost,
        "twice": twice,
        "sizes": [(line["before"], line["target"]) for line in daemon.events("pool.resized")],
        "peak_mib": (daemon.metric("worker_process_peak_bytes", worker=W1) or 0) / MIB,
    }
    print(title, found)
    return found


@acks
def test_tasks_of_80_mib_in_300_mib_meet_no_kill_and_none_is_lost(cluster, group, late):
    start_worker(cluster, group, late=late)
    daemon = start_daemon(cluster)
    send(cluster, "fill", [(80, 1.0)] * 30)
    started(lambda: len(cluster.ended()) == 30, within_seconds=WITHIN_SECONDS, what="all tasks")
    started(settled(cluster), what="the last acknowledgement")
    found = report(f"80 MiB, late={late}", cluster, group, daemon, 30)
    assert (found["kills"], found["lost"], found["twice"]) == (0, 0, 0)


@acks
@pytest.mark.parametrize(
    ("processes", "light"), [(4, 0), (1, 30)], ids=["four at the start", "after light tasks"]
)
def test_a_kill_teaches_and_takes_no_task_that_started_after_it(cluster, group, late, processes, light):
    # Nobody can know what the heavy tasks will need: no such task was ever seen. Those that start at the
    # same moment may be killed together, and none that starts once one of them was.
    start_worker(cluster, group, late=late, processes=processes)
    send(cluster, "fill", [(1, 0.4)] * light + [(80, 1.0)] * 16)
    daemon = start_daemon(cluster)
    redis, started_before = cluster.redis, set()
    idle = settled(cluster)

    def done() -> bool:
        if group.oom_kills and not started_before:
            started_before.update(redis.hkeys("started"))
        return idle()

    started(done, within_seconds=WITHIN_SECONDS, what="the start of all tasks")
    started(lambda: runs_nothing(cluster), what="the end of all tasks")
    found = report(f"{processes} processes, {light} light, late={late}", cluster, group, daemon, light + 16)
    assert set(redis.hkeys("started")) - set(redis.hkeys("ended")) <= started_before
    assert found["lost"] <= found["kills"] < 4
    assert found["twice"] == 0
    if not found["kills"]:
        return
    started(lambda: daemon.metric("worker_oom_kills_total", worker=W1) == found["kills"], what="their count")
    memory = next(one["memory"] for one in daemon.status()["workers"])
    assert memory["breach_ceiling"] >= 1
    lines = [line for line in daemon.events("condition") if line["subject"] == "memory"]
    assert lines[-1]["state"].startswith(f"OOM kills: {found['kills']};")


def test_a_worker_keeps_away_from_the_oom_killer_where_no_daemon_runs(cluster, group):
    start_worker(cluster, group, late=False, processes=4)
    send(cluster, "fill", [(80, 0.5)] * 16)
    idle = settled(cluster)
    started(
        lambda: idle() and len(cluster.ended()) + group.oom_kills >= 16, within_seconds=90, what="all tasks"
    )
    # Those that start at the same moment cannot be told from light ones.
    assert group.oom_kills < 4
    assert len(cluster.ended()) + group.oom_kills == 16


@acks
def test_tasks_whose_need_varies_tenfold_meet_no_kill_once_the_largest_was_seen(cluster, group, late):
    start_worker(cluster, group, late=late)
    daemon = start_daemon(cluster)
    drawn = random.Random(4)
    needs = [drawn.choices((8, 80), (9, 1))[0] for _ in range(29)]
    send(cluster, "fill", [(each, 0.5) for each in (80, *needs)])
    started(lambda: len(cluster.ended()) == 30, within_seconds=WITHIN_SECONDS, what="all tasks")
    started(settled(cluster), what="the last acknowledgement")
    found = report(f"8 or 80 MiB, late={late}", cluster, group, daemon, 30)
    assert (found["kills"], found["lost"], found["twice"]) == (0, 0, 0)


@acks
def test_a_leak_that_max_memory_per_child_ends_meets_no_kill(cluster, group, late):
    start_worker(cluster, group, late=late, worker_max_memory_per_child=110_000)
    daemon = start_daemon(cluster)
    send(cluster, "leak", [(10,)] * 30)
    started(lambda: len(cluster.ended()) == 30, within_seconds=WITHIN_SECONDS, what="all tasks")
    started(settled(cluster), what="the last acknowledgement")
    found = report(f"a leak, late={late}", cluster, group, daemon, 30)
    assert (found["kills"], found["lost"], found["twice"]) == (0, 0, 0)


def test_a_daemon_that_starts_anew_knows_the_peaks_of_a_worker_that_is_gone(cluster, group):
    first = start_worker(cluster, group, late=False)
    daemon = start_daemon(cluster)
    send(cluster, "fill", [(80, 0.1)])

    def peak() -> float:
        return (daemon.metric("worker_process_peak_bytes", worker=W1) or 0) / MIB

    started(lambda: peak() > 100, what="the peak of the task")
    daemon.process.stop()
    first.stop()
    daemon = start_daemon(cluster)
    start_worker(cluster, group, late=False)  # its only process has run no task yet
    started(lambda: daemon.metric("worker_processes", worker=W1) == 1, what="the reading of the new worker")
    assert peak() > 100
    assert [line["workers"] for line in daemon.events("memory.restored")] == [1]
    daemon.process.stop()
    group.limit(400)
    daemon = start_daemon(cluster)
    started(lambda: daemon.metric("worker_processes", worker=W1) == 1, what="the reading of the worker")
    assert 0 < peak() < 100, "what was learnt below another limit does not count"


def test_a_mapped_file_that_is_read_again_and_again_is_no_memory_pressure(cluster, group):
    group.limit(1024)
    start_worker(cluster, group, late=False, processes=2)
    daemon = start_daemon(cluster, "--processes-per-core", "8")
    send(cluster, "reread", [(600, 1.0)] * 8)
    charged = []

    def done() -> bool:
        charged.append(group.used_bytes)
        return len(cluster.ended()) == 8

    started(done, within_seconds=WITHIN_SECONDS, what="all tasks")
    found = report("mapped file", cluster, group, daemon, 8)
    assert max(charged) > 600 * MIB, "the file was charged to the group"
    assert (found["kills"], found["lost"], found["twice"]) == (0, 0, 0)
    reasons = {line["state"] for line in daemon.events("condition")}
    assert reasons.isdisjoint({"memory_pressure", "memory_breach"})
    # Its mapped pages count towards the peak of a process (VmHWM does not tell them apart), so that fewer
    # processes fit than could: docs/deployments.md says so.
    assert {line["reason"] for line in daemon.events("pool.resized")} <= {"latency", "memory_ceiling"}
