"""The loop sends the resizes of a plan, and what came of them goes in with the next observation."""

from __future__ import annotations

import io
from threading import Event

import pytest

from autoscaler.broker.overrides import OverrideRequest
from autoscaler.broker.url import RedisUrlError
from autoscaler.core.model import Result
from autoscaler.daemon.faults import described
from autoscaler.sensors.queues import QueuesReading
from tests.support.builders import queue, worker
from tests.support.daemon import World


@pytest.mark.parametrize(("seconds", "sent"), [(5.0, True), (5.1, False)])
def test_nothing_is_sent_on_an_observation_that_has_grown_old_and_that_is_said(run, seconds, *, sent):
    world = World(takes_seconds=seconds)
    record, events = run(world)
    assert (record.plan.decisions[0].target, world.resized) == (10, [("a@h", 10)] if sent else [])
    assert (("plan.expired", None, None) in events, world.count("expired_actions_total")) == (
        not sent,
        0 if sent else 1,
    )


@pytest.mark.parametrize(("seconds", "shown"), [(5.0, ["a@h"]), (5.1, [])])
def test_a_longer_action_goes_on_by_nothing_that_has_grown_old(run, seconds, shown):
    world = World(takes_seconds=seconds)
    run(world)
    assert world.advanced == [(shown, False, 1000.0, 1000.0 + seconds)]


@pytest.mark.parametrize("override", [{"paused": True}, {"hold_until": {"a@h": 2e9}}])
def test_a_longer_action_is_told_what_an_administrator_wants_left_alone(run, override):
    text = OverrideRequest(**override).to_json()
    world = World(backlog=QueuesReading(queues=(queue(50),), override=text))
    run(world)
    assert [left_alone for _, left_alone, _, _ in world.advanced] == [True]


def test_what_came_of_the_actions_goes_in_with_the_next_observation(run):
    world = World()
    run(world)
    run(world)
    first, second = (seen.outcomes for seen in world.observed)
    assert first == ()
    assert [(one.worker, one.target, one.result, one.sent_at) for one in second] == [
        ("a@h", 10, Result.DONE, 1000.0)
    ]


@pytest.mark.parametrize("fault", [RedisUrlError("half written"), ZeroDivisionError("unforeseen")])
def test_consumers_that_cannot_be_restored_keep_nothing_else_from_being_done(run, fault):
    def fail():
        raise fault

    world = World(restores=fail)
    record, events = run(world)
    assert (record.faults, world.resized) == (
        {"restore": described(fault)},
        [("a@h", 10)],
    )
    assert ("condition", "sensor", "restore") in events


def test_all_resizes_of_a_tick_go_out_in_one_call(run):
    world = World(pools=tuple(worker(name, busy=4) for name in ("a@h", "b@h", "c@h")))
    record, _ = run(world)
    assert world.batches == [["a@h", "b@h", "c@h"]]
    assert [(one.worker, one.result) for one in record.outcomes] == [
        ("a@h", Result.DONE),
        ("b@h", Result.DONE),
        ("c@h", Result.DONE),
    ]


def test_resizes_that_raise_may_have_been_sent(run):
    def fail():
        raise ZeroDivisionError("unforeseen")

    world = World(pools=(worker("a@h", busy=4), worker("b@h", busy=4)), resizes={"a@h": fail})
    record, events = run(world)
    assert [(one.worker, one.result) for one in record.outcomes] == [
        ("a@h", Result.UNKNOWN),
        ("b@h", Result.UNKNOWN),
    ]
    assert ("action.crashed", None, None) in events
    assert world.count("unexpected_errors_total", step="resize") == 1


def test_stopped_while_consumers_are_restored_it_sends_no_resize():
    stop = Event()
    world = World(restores=stop.set)
    world.controller(io.StringIO()).tick(stop.is_set)
    assert world.batches == []


def test_no_action_is_begun_once_it_is_to_stop():
    world, stop = World(), Event()
    stop.set()
    controller = world.controller(io.StringIO())
    controller.tick(stop.is_set)
    controller.run(stop)
    assert (world.resized, [part for part in world.closed if part != "redis"]) == ([], ["resizer", "lease"])
