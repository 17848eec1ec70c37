"""The prefork pool of real workers: no resize loses a task or leaves a count wrong."""

from __future__ import annotations

import json
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import celery
import pytest

from tests.churn.scenarios import Acks, Scenario
from tests.support.worker_bench import (
    SIZE,
    MakeBench,
    await_insides,
    await_ready,
    await_true,
    children,
    hold,
    let_go,
    resize,
    retiring,
    runs,
)

if TYPE_CHECKING:
    from tests.churn.bench import Bench


@pytest.mark.slow
def test_start_of_a_new_process_is_measured(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1)
    resize(bench, 2)
    await_insides(bench, 2)
    start_seconds = bench.report()["start_seconds"]
    resize(bench, 1)
    await_insides(bench, 1)
    assert 0 < start_seconds < 40
    assert bench.report()["start_seconds"] == start_seconds


@pytest.mark.slow
def test_new_size_is_reported_at_once_and_ready_follows(bench: Bench) -> None:
    resize(bench, 8)
    assert bench.report()["size"] == 8
    await_ready(bench, 8)


@pytest.mark.slow
def test_busy_child_ends_its_task_before_it_leaves(bench: Bench) -> None:
    keys = hold(bench, "a", "b", "c")
    assert resize(bench, 1) == {"size": 1, "was": 3, "retiring": 2}
    report = bench.report()
    assert {key: report[key] for key in ("size", "ready", "retiring", "busy")} == {
        "size": 1,
        "ready": 1,
        "retiring": 2,
        "busy": 3,
    }
    assert children(bench) == sorted(keys)
    let_go(bench, "a", "b", "c")
    await_insides(bench, 1)
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


def test_idle_children_leave_before_busy_ones(bench: Bench) -> None:
    (busy,) = hold(bench, "a")
    assert resize(bench, 1)["retiring"] == 2
    await_true(lambda: children(bench) == [busy], "the end of the idle children")
    assert retiring(bench) == []
    let_go(bench, "a")


def test_growth_reclaims_retiring_children_before_it_forks(bench: Bench) -> None:
    keys = hold(bench, "a", "b", "c")
    resize(bench, 1)
    assert resize(bench, 3) == {"size": 3, "was": 1, "retiring": 0}
    assert children(bench) == sorted(keys)
    let_go(bench, "a", "b", "c")
    await_insides(bench, 3)
    assert children(bench) == sorted(keys)
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["bench", "rejecting"], ids=["acks early", "acks late"])
def test_remaining_process_works_on_while_retiring_ones_are_busy(
    chosen: str, request: pytest.FixtureRequest
) -> None:
    bench: Bench = request.getfixturevalue(chosen)
    keys = hold(bench, "a", "b", "c")
    resize(bench, 1)
    leaving = retiring(bench)
    (kept,) = keys.keys() - set(leaving)
    let_go(bench, keys[kept])
    for number in range(5):
        bench.app.send_task("churn.work", (number, 0))
    await_true(lambda: bench.ledger.hlen("ends") == 5, "the end of five tasks in one process")
    assert retiring(bench) == leaving
    let_go(bench, *(keys[pid] for pid in leaving))
    await_insides(bench, 1)


@pytest.mark.slow
def test_retiring_child_that_is_killed_is_not_replaced(rejecting: Bench) -> None:
    keys = hold(rejecting, "a", "b", "c")
    resize(rejecting, 1)
    killed, other = retiring(rejecting)
    os.kill(killed, signal.SIGKILL)
    await_true(lambda: retiring(rejecting) == [other], "the death of the child")
    assert children(rejecting) == sorted(keys.keys() - {killed})
    let_go(rejecting, *(keys[pid] for pid in keys if pid != killed))
    # The broker gave its task back, as reject_on_worker_lost asks.
    let_go(rejecting, keys[killed])
    await_insides(rejecting, 1)
    assert runs(rejecting, keys[killed]) == {keys[killed]: (2, 1)}


@pytest.mark.slow
def test_child_that_stays_is_replaced_when_killed_while_others_leave(rejecting: Bench) -> None:
    keys = hold(rejecting, "a", "b", "c")
    resize(rejecting, 1)
    leaving = retiring(rejecting)
    (kept,) = keys.keys() - set(leaving)
    os.kill(kept, signal.SIGKILL)
    await_true(lambda: rejecting.ledger.llen(f"{keys[kept]}:held") == 2, "its task in a new process")
    assert len(children(rejecting)) == 3
    assert rejecting.report()["retiring"] == len(leaving)
    let_go(rejecting, "a", "b", "c")
    await_insides(rejecting, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "ends"), [("time_limit", {}), ("soft_time_limit", {"0": "1", "1": "1", "2": "1"})]
)
def test_time_limits_end_tasks_of_retiring_children(bench: Bench, limit: str, ends: dict[str, str]) -> None:
    for number in range(SIZE):
        bench.app.send_task("churn.work", (number, 60), **{limit: 3})
    await_true(lambda: bench.ledger.hlen("starts") == SIZE, "the start of three tasks")
    assert resize(bench, 1)["retiring"] == 2
    await_insides(bench, 1)
    assert bench.ledger.hgetall("starts") == {"0": "1", "1": "1", "2": "1"}
    assert bench.ledger.hgetall("ends") == ends


@pytest.mark.slow
def test_pool_restart_settles_what_is_pending(bench: Bench) -> None:
    hold(bench, "a", "b", "c")
    resize(bench, 1)
    assert bench.ask("pool_restart") == {"ok": "reload started"}
    let_go(bench, "a", "b", "c")
    await_insides(bench, 1)
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("then", [1, 3], ids=["and they leave", "and are reclaimed"])
def test_lost_connection_changes_nothing_for_retiring_children(bench: Bench, then: int) -> None:
    keys = hold(bench, "a", "b", "c")
    resize(bench, 1)
    assert bench.cut_connections()
    assert children(bench) == sorted(keys)
    resize(bench, then)
    let_go(bench, "a", "b", "c")
    await_insides(bench, then)
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


@pytest.mark.slow
def test_warm_shutdown_waits_for_retiring_children(make_bench: MakeBench) -> None:
    bench = make_bench()
    hold(bench, "a", "b", "c")
    resize(bench, 1)
    bench.worker.send(signal.SIGTERM)
    bench.worker.wait_until(
        lambda: "Warm shutdown" in bench.worker.log(), within_seconds=20, what="the shutdown"
    )
    let_go(bench, "a", "b", "c")
    assert bench.worker.wait(within_seconds=40) == 0
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


@pytest.mark.slow
def test_the_last_resize_of_two_daemons_counts_and_no_task_is_lost(bench: Bench) -> None:
    for number in range(200):
        bench.app.send_task("churn.work", (number, 0.02))

    def daemon(seed: int) -> int:
        chance = random.Random(seed)
        sizes = [chance.randint(1, 8) for _ in range(25)]
        for size in sizes:
            resize(bench, size)
        return sizes[-1]

    with ThreadPoolExecutor(2) as pool:
        last = set(pool.map(daemon, (1, 2)))
    await_true(lambda: bench.ledger.hlen("ends") == 200, "the end of all tasks")
    size = bench.report()["size"]
    assert size in last
    await_insides(bench, size)
    assert set(bench.ledger.hvals("starts")) == {"1"}


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"CHURN_DISABLE_PREFETCH": "1"}], ids=["unlimited", "disabled"])
def test_unlimited_prefetch_stays_unlimited(make_bench: MakeBench, environment: dict[str, str]) -> None:
    bench = make_bench(Scenario(acks=Acks.LATE, prefetch=0), environment=environment)
    for number in range(60):
        bench.app.send_task("churn.work", (number, 0.02))
    for size in (1, 6, 2, 5, 2):
        resize(bench, size)
        await_ready(bench, size)
    await_true(lambda: bench.ledger.hlen("ends") == 60, "the end of all tasks")
    await_insides(bench, 2, prefetch=0)
    assert set(bench.ledger.hvals("starts")) == {"1"}


@pytest.mark.slow
def test_pool_takes_in_no_more_tasks_than_it_has_processes(make_bench: MakeBench) -> None:
    bench = make_bench(Scenario(prefetch=0))
    for number in range(1000):
        bench.app.send_task("churn.work", (number, 0.05))
    for _ in range(12):
        resize(bench, 8)
        resize(bench, 2)
    await_true(lambda: bench.report()["retiring"] == 0, "the end of the retiring children")
    # A few are on their way at any moment; stock pools held 79 after as many resizes.
    assert bench.ask("churn_insides")["unwritten"] <= 8
    assert bench.report()["reserved"] > 20  # enough to have shown it


@pytest.mark.slow
@pytest.mark.skipif(celery.VERSION[:2] < (5, 7), reason="worker_pool_start_method came with Celery 5.7")
def test_a_pool_that_spawns_its_processes_is_resized_and_its_start_time_learnt(make_bench: MakeBench) -> None:
    conf = json.dumps({"worker_proc_alive_timeout": 60})
    bench = make_bench(processes=1, environment={"CHURN_START_METHOD": "spawn", "CHURN_CONF": conf})
    hold(bench, "a")
    loading: list[int] = []

    def is_ready() -> bool:
        # Counted in this order, a process that comes up in between is not taken for one that loads.
        present = len(children(bench))
        loading.append(present - bench.report()["ready"])
        return loading[-1] == 0 and present == 4

    assert resize(bench, 4) == {"size": 4, "was": 1, "retiring": 0}
    await_true(is_ready, "the readiness of 4 processes")
    assert max(loading) <= max(1, (os.cpu_count() or 1) // 2)
    assert bench.report()["start_seconds"] > 0
    assert resize(bench, 1)["was"] == 4
    await_true(lambda: len(children(bench)) == 1, "the end of the idle processes")
    let_go(bench, "a")
    await_insides(bench, 1)
    assert runs(bench, "a") == {"a": (1, 1)}
