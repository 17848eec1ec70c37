"""What a deployment lacks is named by kind, and only where it was looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.decider import Mode
from autoscaler.core.model import QueueReading, WorkerLayout
from autoscaler.report.deployment import (
    CLOCK_STATE,
    EMPTY_STATE,
    KINDS,
    KNOWN_CONTRACT,
    MEMORY_WAIT_STATE,
    MISSING_WORKER_STATE,
    NO_WORKER_STATE,
    WAITING_STATE,
    missing,
    of_readings,
)
from autoscaler.report.observed import is_observed
from autoscaler.report.status import TickRecord, condition_counts, conditions
from autoscaler.worker.commands import CONTRACT
from tests.autoscaler.report.test_status import record_of
from tests.support.builders import look, queue, worker

ALONE = {"w@h": worker("w@h")}
EMPTY_TICK = record_of(replace(look(0), workers=()))


@pytest.mark.parametrize(
    ("workers", "queues", "expected", "found"),
    [
        (ALONE, (queue(5),), {}, {}),
        ({}, (queue(0),), {}, {("no_worker", "all"): NO_WORKER_STATE}),
        (
            {},
            (queue(5),),
            {},
            {("no_worker", "all"): NO_WORKER_STATE, ("not_consumed", "celery"): WAITING_STATE},
        ),
        (ALONE, (queue(5, "q"),), {}, {("not_consumed", "q"): WAITING_STATE}),
        (ALONE, (queue(0, "q"),), {}, {}),
        (ALONE, (queue(0, "q"),), {"expected_queues": {"q"}}, {("not_consumed", "q"): EMPTY_STATE}),
        (ALONE, (queue(5, "q"),), {"expected_queues": {"q"}}, {("not_consumed", "q"): WAITING_STATE}),
        (ALONE, (queue(None, "q"),), {"expected_queues": {"q"}}, {}),
        (ALONE, (), {"expected_workers": {"w@h", "x@h"}}, {("missing_worker", "x@h"): MISSING_WORKER_STATE}),
    ],
)
def test_what_is_missing_is_named(workers, queues, expected, found):
    assert missing(workers, queues, **expected) == found


def test_a_queue_of_a_worker_that_is_emptied_for_a_moment_is_not_reported():
    emptied = {"w@h": worker("w@h", queues=())}
    assert missing(emptied, (queue(5),), resizing=["w@h"]) == {}
    assert missing(emptied, (queue(5),)) == {("not_consumed", "celery"): WAITING_STATE}


def test_nothing_is_missing_where_consumption_is_not_known():
    assert missing({"w@h": worker("w@h", queues=(), queues_known=False)}, (queue(5),)) == {}


def counts(record: TickRecord) -> dict[str, int | None]:
    found = condition_counts(record, conditions(record, Mode.ACT))
    return {kind: found[kind] for kind in KINDS}


def test_each_kind_is_counted_and_is_unknown_where_it_was_not_looked_at():
    assert counts(record_of(look(0))) == {"no_worker": 0, "missing_worker": 0, "not_consumed": 0}
    assert counts(replace(EMPTY_TICK, expected_workers=frozenset({"a", "b"}))) == {
        "no_worker": 1,
        "missing_worker": 2,
        "not_consumed": 0,
    }
    for sensor in ("pool", "backlog"):
        assert counts(replace(EMPTY_TICK, faults={sensor: "down"})) == dict.fromkeys(KINDS)


def test_a_condition_of_the_deployment_is_over_only_where_it_was_looked_at():
    subjects = [("no_worker", "all"), ("missing_worker", "x@h"), ("not_consumed", "celery")]
    assert [is_observed(one, EMPTY_TICK) for one in subjects] == [True, True, True]
    assert is_observed(("not_consumed", "gone"), EMPTY_TICK) is None
    broken = replace(EMPTY_TICK, faults={"pool": "down"})
    assert [is_observed(one, broken) for one in subjects] == [False, False, False]


def test_a_queue_with_an_error_is_a_condition_of_its_own():
    broken = QueueReading(name="q", waiting=None, error="WRONGTYPE")
    assert missing(ALONE, (broken,), expected_queues={"q"}) == {}


def test_what_single_workers_and_queues_are_about_to_suffer_from_is_named_with_what_to_do():
    layout = WorkerLayout(contract=2, visibility_timeout_seconds=60.0)
    late = worker("late@h", layout=layout, late_running_seconds=61.0)
    within = worker("w@h", layout=replace(layout, contract=1), late_running_seconds=60.0)
    unknown = worker("x@h", late_running_seconds=10**6, memory_wait_seconds=9.9)
    full = worker("full@h", memory_wait_seconds=10.0)
    waiting = QueueReading(name="q", waiting=0, stray_lists=("q:5", "q:7"), stamps_trusted=False)
    assert of_readings([late, within, unknown, full], [waiting, queue(3)]) == {
        ("clock", "q"): CLOCK_STATE,
        ("priorities", "q"): "messages wait in 'q:5', 'q:7', outside the priority_steps by which it is read:"
        " give publishers, workers and --priority-steps the same",
        ("redelivery", "late@h"): "a task with late acknowledgement has been running for longer than the"
        " visibility timeout of 60 s, so the broker delivers it again: set visibility_timeout in"
        " broker_transport_options above the longest task, for all workers",
        ("memory_wait", "full@h"): MEMORY_WAIT_STATE,
        ("contract", "late@h"): "its companion speaks version 2 and this daemon 1: upgrade the daemon",
    }


def test_the_contract_that_this_daemon_knows_is_that_of_its_own_companion():
    assert KNOWN_CONTRACT == CONTRACT
