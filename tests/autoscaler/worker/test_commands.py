"""The two commands in real workers: what they accept, what they answer, and which workers they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.churn.scenarios import Scenario
from tests.support.worker_bench import (
    COMPANION,
    LAYOUT,
    LEGAL,
    SIZE,
    MakeBench,
    await_insides,
    await_ready,
    await_true,
    hold,
    let_go,
    resize,
)
from tests.support.worker_replies import FULL

if TYPE_CHECKING:
    from tests.churn.bench import Bench


CONTAINER = {
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
    "cpu_limit_id",
}


def without_memory(report: dict[str, Any]) -> dict[str, Any]:
    """The rest of a report, once what it says of the memory of its processes has been checked."""
    rest = dict(report)
    parent, rss = rest.pop("parent_rss_bytes"), rest.pop("child_rss_bytes")
    assert rest.pop("parent_peak_bytes") >= parent > 1_000_000
    assert len(rss) == SIZE
    assert min(rss) > 1_000_000
    peaks = rest.pop("child_peak_bytes")
    assert (peaks.keys(), peaks["children"]) == ({"children", "p50", "p95", "max"}, SIZE)
    assert 1_000_000 < peaks["p50"] <= peaks["p95"] <= peaks["max"]
    assert rest.pop("worker_memory_bytes") <= parent + sum(rss)
    shared = rest.pop("child_shared_bytes")
    assert shared is None or shared >= 0
    assert rest.pop("memory_shared") in {None, True, False}
    return rest


@pytest.mark.slow
def test_report_of_an_idle_worker_is_counts_alone(make_bench: MakeBench) -> None:
    bench = make_bench(Scenario(prefetch=4))
    await_ready(bench, SIZE)
    whole = bench.report()
    assert whole.keys() == FULL.keys()
    report = without_memory(whole)
    assert report.pop("container").keys() == CONTAINER == FULL["container"].keys()  # type: ignore[attr-defined]
    assert report.pop("layout").keys() == LAYOUT.keys()
    assert report.pop("uptime_seconds") > 0
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
        "late_running_seconds": None,
        "memory_wait_seconds": None,
        "pid": bench.worker.pid,
        "prefetch": 4 * SIZE,
        "queues": ["celery"],
        "consuming": True,
        "reconnects": 0,
        "resizers": {},
    }


@pytest.mark.slow
def test_the_report_counts_running_fetched_and_scheduled_tasks_apart(make_bench: MakeBench) -> None:
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


@pytest.mark.slow
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
            "pool_resize does not know 'n'; its arguments are size and by",
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


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["imports", "include"])
def test_configuration_loads_it_too(make_bench: MakeBench, setting: str) -> None:
    bench = make_bench(options=(), environment={"CHURN_LOADED_BY": setting})
    assert resize(bench, 2) == {"size": 2, "was": SIZE, "retiring": 1}


@pytest.mark.slow
def test_worker_without_it_answers_the_error_for_an_unknown_command(make_bench: MakeBench) -> None:
    bench = make_bench(options=())
    assert bench.ask("pool_report") == {"error": "KeyError('pool_report')"}
    assert bench.ask("pool_resize", size=2) == {"error": "KeyError('pool_resize')"}


@pytest.mark.slow
def test_the_log_says_that_it_is_loaded_and_each_change_of_size(make_bench: MakeBench) -> None:
    bench = make_bench(options=(*COMPANION, "-l", "INFO"))
    for size in (5, 5, 2):
        resize(bench, size)
    lines = [line.partition("] ")[2] for line in bench.worker.log().splitlines()]
    loaded = "companion loaded: the prefork pool can be resized"
    resized = [line for line in lines if line.startswith("pool_resize: ")]
    assert (lines.count(loaded), resized) == (
        1,
        ["pool_resize: 3 to 5 processes, 0 retiring", "pool_resize: 5 to 2 processes, 3 retiring"],
    )
