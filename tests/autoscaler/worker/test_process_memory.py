"""What memory a worker's processes need, by real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker.process_memory import ProcessMemory, has_others
from tests.support.cgroup_trees import MIB
from tests.support.worker_bench import await_ready, await_true, resize

if TYPE_CHECKING:
    from tests.churn.bench import Bench
    from tests.support.worker_bench import MakeBench


def peak_bytes(bench: Bench) -> int:
    """The highest peak reported, 0 before the first one is known."""
    peaks = bench.report()["child_peak_bytes"]
    return peaks["max"] if peaks else 0


def fill(bench: Bench, key: str, megabytes: int) -> None:
    bench.app.send_task("churn.fill", (key, megabytes))
    await_true(lambda: bench.ledger.llen(key), "the end of the task")


@pytest.mark.slow
def test_the_peak_of_a_task_stays_when_its_memory_is_free_again_and_its_process_gone(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(processes=2)
    assert peak_bytes(bench) < 150 * MIB
    fill(bench, "filled", 150)
    await_true(lambda: peak_bytes(bench) > 150 * MIB, "the peak")
    resize(bench, 1)
    await_true(lambda: len(bench.report()["child_rss_bytes"]) == 1, "the end of one process")
    resize(bench, 2)
    await_ready(bench, 2)
    report = bench.report()
    assert max(report["child_rss_bytes"]) < 150 * MIB < report["child_peak_bytes"]["max"] < 300 * MIB
    assert report["child_peak_bytes"]["children"] == 3


@pytest.mark.slow
def test_the_peak_of_a_process_that_lived_for_one_task_is_known(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1, options=("-I", "autoscaler.companion", "--max-tasks-per-child", "1"))
    fill(bench, "filled", 150)
    await_true(lambda: peak_bytes(bench) > 150 * MIB, "the peak")


@pytest.mark.slow
def test_shared_pages_are_counted_once(make_bench: MakeBench) -> None:
    bench = make_bench(processes=3)
    await_true(lambda: bench.report()["child_shared_bytes"] is not None, "a look at one process's pages")
    report = bench.report()
    resident = report["parent_rss_bytes"] + sum(report["child_rss_bytes"])
    assert 0 < report["child_shared_bytes"] < max(report["child_rss_bytes"])
    assert 0 < report["worker_memory_bytes"] < resident


def test_a_report_looks_at_a_few_children_and_at_each_in_turn() -> None:
    command = [sys.executable, "-c", "input()"]
    family = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(20)]
    try:
        memory = ProcessMemory()
        pids = [child.pid for child in family]
        seen = [memory.read(pids)["child_peak_bytes"]["children"] for _ in range(4)]
    finally:
        for child in family:
            child.communicate(b"\n")
    assert seen == [8, 16, 20, 20]


def test_ended_children_keep_their_place_in_the_percentiles() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    memory = ProcessMemory()
    before = memory.read([child.pid])["child_peak_bytes"]
    child.communicate(b"\n")
    after = memory.read([])["child_peak_bytes"]
    assert {name: after[name] for name in ("p50", "p95", "children")} == {
        name: before[name] for name in ("p50", "p95", "children")
    }
    assert after["max"] >= before["max"]


def test_nothing_is_known_of_children_that_there_are_not() -> None:
    report = ProcessMemory().read([])
    assert (report["child_rss_bytes"], report["child_peak_bytes"]) == ([], None)
    assert report["child_shared_bytes"] is None
    assert report["parent_peak_bytes"] >= report["parent_rss_bytes"] > 0


def test_the_workers_own_family_shares_nothing_with_others() -> None:
    own, shell = os.getpid(), os.getppid()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as grandchild:
        family = {own, shell, 4_000_001, grandchild.pid}
        assert not has_others(family, own, [4_000_001])
        assert has_others({*family, 0}, own, [4_000_001])
        assert has_others({*family, 4_000_002}, own, [4_000_001])
        grandchild.communicate(b"\n")
