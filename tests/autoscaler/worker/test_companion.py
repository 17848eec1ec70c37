"""The companion in real workers: what it answers, and that no resize loses a task."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.demo.embedded import Process, wait_until
from autoscaler.worker import prefork_parts
from tests.churn.bench import ROOT, Bench, Setup
from tests.churn.scenarios import Acks, Scenario

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3
COMPANION = ("-I", "autoscaler.companion")
#: What the layout is with default settings.
LAYOUT = {
    "separator": "\x06\x16",
    "priority_steps": [0, 3, 6, 9],
    "global_keyprefix": "",
    "unacked_key": "unacked",
    "visibility_timeout_seconds": 3600.0,
    "control_exchange": "celery",
    "eta_task_limit": None,
    "prefetch_disabled": False,
    "serializer": "json",
    "accept": ["json"],
    "private_queues": [],
    "start_method": "fork",
}
LEGAL = "it is a whole number from 1 to 10000"

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Benches of their own for tests that need other settings."""
    benches: list[Bench] = []

    def make(scenario: Scenario | None = None, **setup: Any) -> Bench:
        chosen = Setup(**{"processes": SIZE, "options": COMPANION, **setup})
        benches.append(Bench(tmp_path / str(len(benches)), scenario or Scenario(prefetch=1), chosen))
        return benches[-1].__enter__()

    yield make
    for bench in benches:
        bench.__exit__()


def _shared_bench(tmp_path_factory: pytest.TempPathFactory, acks: Acks) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp(acks)
    setup = Setup(processes=SIZE, options=COMPANION)
    with Bench(folder, Scenario(acks=acks, prefetch=1), setup) as bench:
        yield bench


@pytest.fixture(scope="module")
def early_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from _shared_bench(tmp_path_factory, Acks.EARLY)


@pytest.fixture(scope="module")
def reject_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from _shared_bench(tmp_path_factory, Acks.REJECT)


@pytest.fixture
def bench(early_bench: Bench) -> Bench:
    """Three idle processes, acks early, prefetch 1 for each process."""
    return _rested(early_bench)


@pytest.fixture
def rejecting(reject_bench: Bench) -> Bench:
    """The same with acks late, given back where the process is lost."""
    return _rested(reject_bench)


def _rested(bench: Bench) -> Bench:
    bench.ledger.flushall()
    resize(bench, SIZE)
    await_insides(bench, SIZE)
    return bench


def resize(bench: Bench, size: int) -> dict[str, int]:
    answer = bench.ask("pool_resize", size=size)
    assert "ok" in answer, answer
    resized: dict[str, int] = answer["ok"]
    return resized


def settled(size: int, *, prefetch: int = 1) -> dict[str, Any]:
    """What a worker's insides are when ``size`` processes are idle and nothing is pending."""
    return {
        "processes": size,
        "children": size,
        "inqueues": size,
        "busy": 0,
        "unwritten": 0,
        "retiring": [],
        "free_slots": [size, size, 0],
        "initial_prefetch": size * prefetch,
        "prefetch": size * prefetch,
    }


def await_insides(bench: Bench, size: int, *, prefetch: int = 1) -> None:
    """Wait until size, children, semaphore and prefetch all agree on ``size``."""
    wanted = settled(size, prefetch=prefetch)
    seen: dict[str, Any] = {}

    def agree() -> bool:
        insides = bench.ask("churn_insides")
        seen.update(insides, children=len(insides["children"]), prefetch=bench.report()["prefetch"])
        return seen == wanted

    try:
        wait_until(agree, within_seconds=40, what="agreement")
    except TimeoutError:
        assert seen == wanted


def await_ready(bench: Bench, size: int) -> None:
    await_true(lambda: bench.report()["ready"] == size, f"the readiness of {size} processes")


def children(bench: Bench) -> list[int]:
    pids: list[int] = bench.ask("churn_insides")["children"]
    return pids


def retiring(bench: Bench) -> list[int]:
    pids: list[int] = bench.ask("churn_insides")["retiring"]
    return pids


def hold(bench: Bench, *keys: str) -> dict[int, str]:
    """Occupy a process with each key until it is let go; the key by the process id."""
    for key in keys:
        bench.app.send_task("churn.hold", (key,))
    await_true(
        lambda: all(bench.ledger.llen(f"{key}:held") for key in keys), "the start of the holding tasks"
    )
    return {int(bench.ledger.lindex(f"{key}:held", -1)): key for key in keys}


def let_go(bench: Bench, *keys: str) -> None:
    for key in keys:
        bench.ledger.rpush(key, "go")
    await_true(lambda: all(bench.ledger.llen(f"{key}:ended") for key in keys), "the end of the holding tasks")


def runs(bench: Bench, *keys: str) -> dict[str, tuple[int, int]]:
    """How often each holding task was started and ended."""
    return {key: (bench.ledger.llen(f"{key}:held"), bench.ledger.llen(f"{key}:ended")) for key in keys}


def await_true(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, within_seconds=40, what=what)


# -- what it answers


def test_report_of_an_idle_worker_is_counts_alone(make_bench: MakeBench) -> None:
    bench = make_bench(Scenario(prefetch=4))
    report = bench.report()
    container = report.pop("container")
    assert container.keys() == {
        "cpu_limit_cores",
        "cpu_limited",
        "cpu_usage_seconds",
        "throttled_seconds",
        "memory_limit_bytes",
        "memory_limited",
        "memory_used_bytes",
        "active_file_bytes",
        "inactive_file_bytes",
        "oom_kills",
        "memory_failcnt",
        "memory_pressure",
        "container_id",
    }
    assert report.pop("uptime_seconds") > 0
    parent = report.pop("parent_rss_bytes")
    assert report.pop("parent_peak_bytes") >= parent > 1_000_000
    rss = report.pop("child_rss_bytes")
    assert len(rss) == SIZE
    assert min(rss) > 1_000_000
    peaks = report.pop("child_peak_bytes")
    assert peaks.pop("children") == SIZE
    assert 1_000_000 < peaks.pop("p50") <= peaks.pop("p95") <= peaks.pop("max")
    assert peaks == {}
    assert report.pop("worker_memory_bytes") <= parent + sum(rss)
    assert report.pop("child_shared_bytes") is None or report
    assert report.pop("memory_shared") in {None, True, False}
    assert report.pop("layout").keys() == LAYOUT.keys()
    assert report == {
        "companion": 1,
        "pool": "prefork",
        "autoscale": False,
        "refusal": None,
        "size": SIZE,
        "ready": SIZE,
        "retiring": 0,
        "start_seconds": None,
        "busy": 0,
        "reserved": 0,
        "scheduled": 0,
        "rate_limited": 0,
        "completed": 0,
        "discarded": 0,
        "pid": bench.worker.pid,
        "prefetch": 4 * SIZE,
        "queues": ["celery"],
        "consuming": True,
    }


def test_report_tells_running_fetched_and_scheduled_tasks_apart(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1)
    bench.app.send_task("churn.work", (0, 0))
    await_true(lambda: bench.ledger.hlen("ends"), "the end of the first task")
    hold(bench, "a")
    bench.app.send_task("churn.work", (1, 0), countdown=3600)
    await_true(lambda: bench.report()["scheduled"], "the scheduled task")
    bench.app.send_task("churn.work", (2, 0))
    await_true(lambda: bench.report()["reserved"], "the fetched task")
    report = bench.report()
    let_go(bench, "a")
    counts = ("busy", "reserved", "scheduled", "completed", "prefetch")
    assert {key: report[key] for key in counts} == {
        "busy": 1,
        "reserved": 1,
        "scheduled": 1,
        "completed": 1,
        "prefetch": 2,  # one for the process and one for the task that waits for its time
    }
    await_true(lambda: bench.report()["completed"] == 3, "the end of all but the scheduled task")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({}, f"pool_resize: size is None; {LEGAL}", id="nothing"),
        pytest.param({"size": "2"}, f"pool_resize: size is '2'; {LEGAL}", id="a string"),
        pytest.param({"size": 2.0}, f"pool_resize: size is 2.0; {LEGAL}", id="a float"),
        pytest.param({"size": True}, f"pool_resize: size is True; {LEGAL}", id="a boolean"),
        pytest.param({"size": [2]}, f"pool_resize: size is [2]; {LEGAL}", id="a list"),
        pytest.param({"size": 0}, f"pool_resize: size is 0; {LEGAL}", id="zero"),
        pytest.param({"size": -1}, f"pool_resize: size is -1; {LEGAL}", id="negative"),
        pytest.param({"size": 10_001}, f"pool_resize: size is 10001; {LEGAL}", id="one too many"),
        pytest.param(
            {"size": 10**400}, f"pool_resize: size is a number of more than 20 digits; {LEGAL}", id="huge"
        ),
        pytest.param(
            {"size": "a\n" + "b" * 1000},
            f"pool_resize: size is 'a\\n{'b' * 56}...; {LEGAL}",
            id="a long text with line ends",
        ),
        pytest.param(
            {"size": 2, "n": 1},
            "pool_resize does not know 'n'; its only argument is size",
            id="an argument it does not know",
        ),
    ],
)
def test_resize_refuses_what_is_not_a_size_and_changes_nothing(
    bench: Bench, arguments: dict[str, Any], error: str
) -> None:
    before = bench.ask("churn_insides")
    assert bench.ask("pool_resize", **arguments) == {"error": error}
    assert bench.ask("churn_insides") == before


def test_resize_is_absolute_and_asking_twice_does_no_harm(bench: Bench) -> None:
    assert resize(bench, 5) == {"size": 5, "was": 3, "retiring": 0}
    assert resize(bench, 5) == {"size": 5, "was": 5, "retiring": 0}
    await_insides(bench, 5)
    assert resize(bench, 1)["was"] == 5
    assert resize(bench, 1)["was"] == 1
    await_insides(bench, 1)


def test_start_of_a_new_process_is_measured(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1)
    resize(bench, 2)
    await_insides(bench, 2)
    start_seconds = bench.report()["start_seconds"]
    resize(bench, 1)
    await_insides(bench, 1)
    assert 0 < start_seconds < 40
    assert bench.report()["start_seconds"] == start_seconds


def test_new_size_is_reported_at_once_and_ready_follows(bench: Bench) -> None:
    resize(bench, 8)
    assert bench.report()["size"] == 8
    await_ready(bench, 8)


# -- what a resize does to running tasks


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


def test_pool_restart_settles_what_is_pending(bench: Bench) -> None:
    hold(bench, "a", "b", "c")
    resize(bench, 1)
    assert bench.ask("pool_restart") == {"ok": "reload started"}
    let_go(bench, "a", "b", "c")
    await_insides(bench, 1)
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


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


def test_last_of_two_resizing_daemons_stands_and_no_task_is_lost(bench: Bench) -> None:
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


# -- which workers


@pytest.mark.parametrize("setting", ["imports", "include"])
def test_configuration_loads_it_too(make_bench: MakeBench, setting: str) -> None:
    bench = make_bench(options=(), environment={"CHURN_LOADED_BY": setting})
    assert resize(bench, 2) == {"size": 2, "was": SIZE, "retiring": 1}


def test_worker_without_it_answers_the_error_for_an_unknown_command(make_bench: MakeBench) -> None:
    bench = make_bench(options=())
    assert bench.ask("pool_report") == {"error": "KeyError('pool_report')"}
    assert bench.ask("pool_resize", size=2) == {"error": "KeyError('pool_resize')"}


@pytest.mark.parametrize(
    ("options", "pool", "refusal"),
    [
        pytest.param(
            ("--autoscale", "3,1"),
            "prefork",
            "this worker runs with --autoscale, which resizes it already; start it without",
            id="autoscale",
        ),
        pytest.param(
            ("-P", "solo"),
            "solo",
            "a pool of the kind 'solo' has a fixed size; use --pool prefork, gevent, eventlet or threads",
            id="solo",
        ),
    ],
)
def test_pools_of_fixed_size_are_refused_in_words(
    make_bench: MakeBench, options: tuple[str, ...], pool: str, refusal: str
) -> None:
    bench = make_bench(options=(*COMPANION, *options))
    report = bench.report()
    assert (report["pool"], report["refusal"]) == (pool, refusal)
    assert bench.ask("pool_resize", size=2) == {"error": refusal}


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_green_pools_resize_with_a_floor(make_bench: MakeBench, pool: str) -> None:
    if find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed; uv run --with {pool} pytest")
    bench = make_bench(options=(*COMPANION, "-P", pool))
    for number in range(60):
        bench.app.send_task("churn.work", (number, 0.05))
    for size in (1, 8, 2, 5, 1, 4):
        assert resize(bench, size)["size"] == size
    await_true(lambda: bench.ledger.hlen("ends") == 60, "the end of all tasks")
    assert set(bench.ledger.hvals("starts")) == {"1"}
    assert bench.ask("pool_resize", size=0) == {"error": f"pool_resize: size is 0; {LEGAL}"}
    report = bench.report()
    kept = ("pool", "refusal", "size", "ready", "retiring", "prefetch")
    assert {key: report[key] for key in kept} == {
        "pool": pool,
        "refusal": None,
        "size": 4,
        "ready": 4,
        "retiring": 0,
        "prefetch": 4,
    }


def test_changed_private_attribute_is_refused_with_the_versions(make_bench: MakeBench) -> None:
    bench = make_bench(environment={"CHURN_CHANGED_SHAPE": "1"})
    refusal = bench.report()["refusal"]
    assert re.sub(r"\d+(\.\d+)+\w*", "N", refusal) == (
        "Celery N, billiard N, kombu N lacks what a resize without loss needs"
        " (consumer.pool._pool._active_writes);"
        " use versions that have it, or the stock pool_grow and pool_shrink"
    )
    assert bench.ask("pool_resize", size=1) == {"error": refusal}
    assert bench.ask("pool_grow", n=1) == {"ok": "pool will grow"}
    assert bench.report()["size"] == SIZE + 1


def test_every_missing_part_is_named() -> None:
    consumer = SimpleNamespace(hub=SimpleNamespace(on_tick=set(), call_soon=print, call_later=print))
    missing = prefork_parts.missing_parts(consumer)
    assert missing[:3] == (
        "consumer.hub.remove_writer",
        "consumer.prefetch_multiplier",
        "consumer.initial_prefetch_count",
    )
    assert "consumer.pool._pool._putlock._waiting" in missing


def test_size_beyond_the_open_files_is_refused(make_bench: MakeBench) -> None:
    bench = make_bench(environment={"CHURN_OPEN_FILES": "124"})
    assert bench.ask("pool_resize", size=11) == {
        "error": "pool_resize: size is 11; with 124 open files this worker can have 10 processes,"
        " raise its limit (ulimit -n)"
    }
    resize(bench, 10)
    await_insides(bench, 10)


# -- under churn


def _churn(tmp_path: Path, *options: str) -> dict[str, Any]:
    """The totals of the churn harness, run as its users run it."""
    result = tmp_path / "churn.json"
    with Process(
        (sys.executable, "-m", "tests.churn", "--json", result, *options),
        log_path=tmp_path / "churn.log",
        working_folder=ROOT,
    ) as harness:
        harness.wait(within_seconds=900)
        log = harness.log()
    assert result.exists(), log
    totals: dict[str, Any] = json.loads(result.read_text())["totals"]["companion"]
    assert all(totals[fault] == 0 for fault in ("lost", "twice", "inexact", "failed")), log
    return totals


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_churn_loses_and_repeats_nothing(tmp_path: Path) -> None:
    totals = _churn(tmp_path, "--slice", "--resizes", "72", "--compare", "0", "--growth", "0")
    assert totals["resizes"] + totals["refused"] == 72


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_churn_loses_and_repeats_nothing_on_the_oldest_celery(tmp_path: Path) -> None:
    python = _oldest_celery(tmp_path)
    # Two of the six, without trouble and with children killed: they take half a minute each to come and go.
    options = ("--slice", "--only", "acks reject", "--resizes", "36", "--compare", "0", "--growth", "0")
    totals = _churn(tmp_path, *options, "--python", os.fspath(python))
    assert totals["resizes"] + totals["refused"] == 12


def _oldest_celery(tmp_path: Path) -> Path:
    """The Python of an environment with the oldest Celery supported, as it was when that came out."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed, which makes the environment of the oldest Celery")
    folder = tmp_path / "oldest"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    install = (uv, "pip", "install", "-q", "--python", python)
    done = subprocess.run(
        [*install, "celery[redis]==5.3.6", "kombu==5.3.4", "billiard==4.2.0"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode and re.search(r"fetch|connect|dns|network|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("the package registry cannot be reached for the oldest Celery")
    assert done.returncode == 0, done.stderr
    return python
