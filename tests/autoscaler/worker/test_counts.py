"""What real workers report of tasks that cannot run, never run, or are not taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.worker_bench import await_true, hold, let_go

if TYPE_CHECKING:
    from tests.churn.bench import Bench
    from tests.support.worker_bench import MakeBench

COUNTS = ("busy", "reserved", "scheduled", "rate_limited", "completed", "discarded")


def counts(bench: Bench) -> dict[str, Any]:
    report = bench.report()
    return {name: report[name] for name in COUNTS}


@pytest.mark.slow
def test_tasks_that_wait_for_their_rate_limit_are_counted_apart(bench: Bench) -> None:
    assert bench.ask("rate_limit", task_name="churn.work", rate_limit="1/h")
    completed = bench.report()["completed"]
    for number in range(3):
        bench.app.send_task("churn.work", (number, 0))
    expected = {
        "busy": 0,
        "reserved": 0,
        "scheduled": 0,
        "rate_limited": 2,
        "completed": completed + 1,
        "discarded": 0,
    }
    await_true(lambda: counts(bench) == expected, "two tasks in the bucket")
    bench.ask("rate_limit", task_name="churn.work", rate_limit="0")
    bench.broker.flushall()


@pytest.mark.slow
def test_revoked_and_expired_tasks_are_discarded_and_not_completed(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    for number in range(5):
        bench.app.send_task("churn.work", (number, 0), expires=long_ago)
    hold(bench, "a")
    revoked = bench.app.send_task("churn.work", (5, 0))
    bench.ask("revoke", task_id=revoked.id)
    let_go(bench, "a")
    expected = {
        "busy": 0,
        "reserved": 0,
        "scheduled": 0,
        "rate_limited": 0,
        "completed": 1,
        "discarded": 6,
    }
    await_true(lambda: counts(bench) == expected, "six discarded tasks")
    assert bench.ledger.hlen("starts") == 0


@pytest.mark.slow
def test_a_task_that_was_terminated_while_it_ran_is_completed_and_not_discarded(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(processes=1)
    sent = bench.app.send_task("churn.work", (0, 60))
    await_true(lambda: bench.report()["busy"] == 1, "the start of the task")
    bench.ask("revoke", task_id=sent.id, terminate=True, signal="SIGKILL")
    await_true(lambda: bench.report()["busy"] == 0, "the end of the task")
    report = bench.report()
    assert (report["completed"], report["discarded"]) == (1, 0)


@pytest.mark.slow
def test_a_worker_whose_consumers_were_cancelled_is_not_consuming(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1)
    assert (bench.report()["queues"], bench.report()["consuming"]) == (["celery"], True)
    bench.ask("cancel_consumer", queue="celery")
    assert (bench.report()["queues"], bench.report()["consuming"]) == ([], False)
    bench.ask("add_consumer", queue="celery")
    assert (bench.report()["queues"], bench.report()["consuming"]) == (["celery"], True)


@pytest.mark.slow
def test_a_running_task_that_is_acknowledged_late_tells_for_how_long_it_runs(
    rejecting: Bench, bench: Bench
) -> None:
    for each in (rejecting, bench):
        assert each.report()["late_running_seconds"] is None
        hold(each, "a")
    await_true(lambda: (rejecting.report()["late_running_seconds"] or 0) > 1, "a second of its run")
    assert bench.report()["late_running_seconds"] is None
    for each in (rejecting, bench):
        let_go(each, "a")
        await_true(lambda each=each: each.report()["late_running_seconds"] is None, "its end")
