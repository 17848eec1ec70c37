"""What is remembered of workers from tick to tick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.state import KnownWorker, Outstanding, State, remember
from tests.support.builders import container, look, prompt_policy, worker

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
    later = replace(reading, busy=3, uptime_seconds=3601.0)
    known, changed = follow(known, later, at=2.0)
    assert (known, changed) == ({"a@h": KnownWorker(reading=later, read_at=2.0)}, frozenset())


@pytest.mark.parametrize("fields", [{"processes": 5}, {"processes": None}, {"uptime_seconds": 2.0}])
def test_another_size_or_a_restart_is_a_change(fields):
    known, _ = follow({}, worker("a@h"), at=1.0)
    _, changed = follow(known, worker("a@h", **fields), at=2.0)
    assert changed == {"a@h"}


def test_a_silent_worker_stays_as_it_was_read_and_is_forgotten_in_the_end():
    known, _ = follow({}, worker("a@h"), at=1.0)
    assert follow(known, at=16.0) == (known, frozenset())
    assert follow(known, at=16.1) == ({}, frozenset())


def test_the_last_known_container_holds_and_rates_come_from_two_readings():
    box = container(cpu_limit_cores=2.0, cpu_usage_seconds=10.0)
    known, _ = follow({}, worker("a@h", container=box), at=1.0)
    known, _ = follow(known, worker("a@h", container=None), at=2.0)
    assert known["a@h"].reading.container == box
    now = replace(box, cpu_usage_seconds=11.0)
    known, _ = follow(known, worker("a@h", container=now), at=3.0)
    assert known["a@h"].reading.container == replace(now, cpu_usage_ratio=0.5)


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


def test_an_action_is_remembered_with_its_worker_and_not_with_one_that_is_gone():
    known, _ = follow({}, worker("a@h"), at=1.0)
    state = State(workers=known)
    acted = state.acted("a@h", target=6, at=2.0, confirmed=True)
    assert acted.workers["a@h"].outstanding == Outstanding(target=6, sent_at=2.0, confirmed=True)
    assert state.workers["a@h"].outstanding is None
    assert state.acted("b@h", target=6, at=2.0, confirmed=True) is state
