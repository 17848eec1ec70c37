"""What is remembered of workers from tick to tick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.model import Reason, Result
from autoscaler.core.state import KnownWorker, Outstanding, Refusal, remember
from tests.support.builders import Walk, container, decision, look, outcome, prompt_policy, worker

POLICY = prompt_policy(stale_after_seconds=15, settle_seconds=10)


def follow(known, *readings, at):
    seen = replace(look(0, at=at), workers=readings)
    return remember(POLICY, known, seen)


def waits(target, *, confirmed, sent_at=100.0, **fields):
    """A worker of 4 read at 100 s with an action under way."""
    action = Outstanding(target=target, sent_at=sent_at, confirmed=confirmed)
    reading = worker("a@h", **fields)
    return {"a@h": KnownWorker(reading=reading, read_at=100.0, outstanding=action)}


def test_a_new_worker_is_a_change_and_the_same_one_again_is_none():
    reading = worker("a@h")
    known, changed = follow({}, reading, at=1.0)
    assert (known, changed) == ({"a@h": KnownWorker(reading=reading, read_at=1.0)}, {"a@h"})
    later = reading._replace(busy=3, uptime_seconds=3601.0)
    known, changed = follow(known, later, at=2.0)
    assert (known, changed) == ({"a@h": KnownWorker(reading=later, read_at=2.0)}, frozenset())


@pytest.mark.parametrize("fields", [{"processes": 5}, {"processes": None}, {"uptime_seconds": 2.0}])
def test_another_size_or_a_restart_is_a_change(fields):
    known, _ = follow({}, worker("a@h"), at=1.0)
    _, changed = follow(known, worker("a@h", **fields), at=2.0)
    assert changed == {"a@h"}


def test_an_unresponsive_worker_stays_as_it_was_read_and_is_forgotten_in_the_end():
    known, _ = follow({}, worker("a@h"), at=1.0)
    assert follow(known, at=16.0) == (known, frozenset())
    assert follow(known, at=16.1) == ({}, frozenset())


def test_the_last_known_container_holds_and_rates_come_from_two_readings():
    box = container(cpu_limit_cores=2.0, cpu_usage_seconds=10.0)
    known, _ = follow({}, worker("a@h", container=box), at=1.0)
    known, _ = follow(known, worker("a@h", container=None), at=2.0)
    assert known["a@h"].reading.container == container(cpu_limit_cores=2.0)
    now = box._replace(cpu_usage_seconds=11.0)
    known, _ = follow(known, worker("a@h", container=now), at=3.0)
    assert known["a@h"].reading.container == now  # nobody knows when the ones before were read
    later = box._replace(cpu_usage_seconds=12.0)
    known, _ = follow(known, worker("a@h", container=later), at=4.0)
    assert known["a@h"].reading.container == later._replace(cpu_usage_ratio=0.5)


@pytest.mark.parametrize(
    ("known", "reading", "at", "settled"),
    [
        pytest.param(
            waits(8, confirmed=False), {"processes": 8}, 101.0, True, id="its size shows the action"
        ),
        pytest.param(
            waits(8, confirmed=True), {"processes": 6}, 101.0, True, id="the companion has answered"
        ),
        pytest.param(waits(8, confirmed=False), {"processes": 6}, 101.0, False, id="or it has not"),
        pytest.param(
            waits(8, confirmed=True),
            {"processes": 6, "companion": False},
            101.0,
            False,
            id="a stock answer is none",
        ),
        pytest.param(waits(8, confirmed=False), {"processes": None}, 101.0, False, id="its size is unknown"),
        pytest.param(
            waits(8, confirmed=False), {"processes": None}, 200.0, False, id="however long it is unknown"
        ),
        pytest.param(waits(8, confirmed=False), {"processes": 4}, 109.9, False, id="the settle time runs"),
        pytest.param(waits(8, confirmed=False), {"processes": 4}, 110.0, True, id="the settle time is over"),
        pytest.param(
            waits(8, confirmed=False),
            {"processes": 2, "uptime_seconds": 1.0},
            101.0,
            True,
            id="it has restarted",
        ),
    ],
)
def test_an_action_is_outstanding_until_its_end_is_known(known, reading, at, settled):
    found, _ = follow(known, worker("a@h", **reading), at=at)
    assert (found["a@h"].outstanding is None) is settled


def test_a_worker_with_an_action_under_way_counts_with_the_size_it_is_to_have():
    assert waits(8, confirmed=False)["a@h"].size == 8
    assert KnownWorker(reading=worker(processes=4), read_at=1.0).size == 4


def after(known, *outcomes, at=2.0):
    """What is known of workers that did not answer since, once the outcomes are in."""
    return remember(POLICY, known, replace(look(0, at=at, outcomes=outcomes), workers=()))[0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"result": Result.DONE}, Outstanding(target=6, sent_at=1.5, confirmed=True)),
        ({"result": Result.UNKNOWN}, Outstanding(target=6, sent_at=1.5, confirmed=False)),
        (
            {"result": Result.BEGUN, "settles_at": 60.0},
            Outstanding(target=6, sent_at=60.0, confirmed=False),
        ),
    ],
)
def test_what_came_of_an_action_is_remembered_with_its_worker(fields, expected):
    known, _ = follow({}, worker("a@h"), at=1.0)
    found = after(known, outcome(6, name="a@h", sent_at=1.5, **fields))
    assert found == {"a@h": known["a@h"]._replace(outstanding=expected)}


def test_the_outcome_for_a_worker_that_is_gone_changes_no_other():
    known, _ = follow({}, worker("a@h"), at=1.0)
    assert after(known, outcome(6, name="b@h", sent_at=1.5)) == known


def test_a_refusal_leaves_the_size_as_it_is_and_pauses_ever_longer():
    known, _ = follow({}, worker("a@h"), at=1.0)
    refused = outcome(6, name="a@h", sent_at=2.0, result=Result.REFUSED)
    pauses = []
    for _ in range(8):
        known = after(known, refused)
        pauses.append(known["a@h"].refusal.pause_seconds)
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert (known["a@h"].size, known["a@h"].outstanding) == (4, None)


@pytest.mark.parametrize("fields", [{"processes": 5}, {"uptime_seconds": 2.0}])
def test_a_refusal_is_forgotten_with_the_size_or_the_worker_it_was_for(fields):
    known, _ = follow({}, worker("a@h"), at=1.0)
    known = after(known, outcome(6, name="a@h", sent_at=1.5, result=Result.REFUSED))
    same, _ = follow(known, worker("a@h"), at=2.0)
    other, _ = follow(known, worker("a@h", **fields), at=2.0)
    assert (same["a@h"].refusal, other["a@h"].refusal) == (Refusal(until=11.5, pause_seconds=10), None)


def test_a_worker_whose_queues_are_not_known_this_time_keeps_those_it_had():
    known, _ = follow({}, worker("a@h", queues=("x",)), at=1.0)
    known, _ = follow(known, worker("a@h", queues=(), queues_known=False), at=2.0)
    reading = known["a@h"].reading
    assert (reading.queues, reading.queues_known) == (("x",), False)
    known, _ = follow(known, worker("a@h", queues=()), at=3.0)
    assert known["a@h"].reading.queues == ()


def test_a_worker_cannot_run_ten_thousand_tasks_on_four_processes():
    walk = Walk(prompt_policy())
    plan = walk.see(0, worker(busy=10_000))
    assert plan.decisions == (decision(4, 4, Reason.PEER_UNRESPONSIVE),)
    assert walk.see(3, worker(busy=4)).decisions == (decision(4, 7, Reason.LOAD_HIGH),)
