"""What a tick has looked at: only that can be over."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from autoscaler.core.decider import Decider
from autoscaler.core.state import State
from autoscaler.report.observed import in_force, is_observed
from autoscaler.report.status import TickRecord
from tests.support.builders import look, prompt_policy, queue, worker


def seen(*readings, faults=None, queues=None, **fields):
    observation = look(0, *readings, queues=queues)
    state, plan = Decider(policy=prompt_policy()).decide(State(), observation)
    workers = {name: known.reading for name, known in state.workers.items()}
    return TickRecord(observation=observation, plan=plan, workers={**workers, **fields}, faults=faults or {})


LATE = worker("late@h")


@pytest.mark.parametrize(
    ("subject", "record", "expected"),
    [
        pytest.param(("worker", "a@h"), seen(worker("a@h")), True, id="it answered"),
        pytest.param(
            ("decision", "late@h"), seen(worker("a@h"), **{"late@h": LATE}), False, id="it did not answer"
        ),
        pytest.param(("worker", "gone@h"), seen(worker("a@h")), None, id="it is not known any more"),
        pytest.param(
            ("worker", "gone@h"), seen(worker("a@h"), faults={"pool": "x"}), False, id="none was asked"
        ),
        pytest.param(("queue", "x"), seen(queues=(queue(0, "x"),)), True, id="the queue was read"),
        pytest.param(("queue", "y"), seen(queues=(queue(0, "x"),)), None, id="nobody consumes it any more"),
        pytest.param(("queue", "x"), seen(faults={"backlog": "x"}), False, id="Redis was not read"),
        pytest.param(("sensor", "pool"), seen(faults={"backlog": "x"}), False, id="nor was any worker"),
        pytest.param(("sensor", "pool"), seen(), True, id="the sensor was asked"),
        pytest.param(
            ("mailbox", "a@h"),
            seen(worker("a@h"), faults={"mailboxes": "x"}),
            False,
            id="no mailbox read",
        ),
        pytest.param(("mailbox", "a@h"), seen(worker("a@h")), True, id="the mailboxes were read"),
        pytest.param(("sensor", "backlog"), seen(), True, id="so was Redis"),
    ],
)
def test_only_what_was_looked_at_can_be_over(subject, record, expected):
    assert is_observed(subject, record) is expected


@pytest.mark.parametrize(
    ("known", "left", "expected"), [(True, ("a@h",), False), (False, ("a@h",), None), (False, (), False)]
)
def test_a_worker_that_ended_is_not_waited_for_once_it_is_forgotten(known, left, expected):
    record = replace(seen(**({"a@h": worker("a@h")} if known else {})), unresponsive=("a@h",), left=left)
    assert is_observed(("worker", "a@h"), record) is expected


def test_a_condition_stays_in_force_while_nobody_looks_and_a_new_state_takes_its_place():
    before = {("worker", "a@h"): "old", ("queue", "x"): "old", ("worker", "gone@h"): "old"}
    found = {("queue", "x"): "new"}
    assert in_force(before, found, seen(faults={"pool": "x"}, queues=(queue(0, "x"),))) == {
        ("worker", "a@h"): "old",
        ("worker", "gone@h"): "old",
        ("queue", "x"): "new",
    }
    assert in_force(before, found, seen(worker("a@h"), queues=(queue(0, "x"),))) == found


@pytest.mark.parametrize("fault", ["backlog", "lease"])
def test_a_standby_is_over_once_the_lease_was_read(fault):
    record = seen()
    assert is_observed(("lease", "standby"), record) is True, "it is over as soon as it leads"
    assert is_observed(("lease", "standby"), replace(record, faults={fault: "gone"})) is False


def test_conditions_of_a_fleet_that_are_over_take_time_in_proportion_to_its_size():
    def seconds(count: int) -> float:
        names = [f"w{number}@h" for number in range(count)]
        before = {("decision", name): "stale" for name in names}
        record = seen(*map(worker, names))
        begun = time.process_time()
        assert in_force(before, {}, record) == {}
        return time.process_time() - begun

    few, many = (min(seconds(count) for _ in range(3)) for count in (500, 4000))
    assert many < 24 * few, "8 times as many: it took 64 times as long when each was searched for"
