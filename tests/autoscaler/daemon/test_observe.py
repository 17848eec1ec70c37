"""The loop reads the parts of the world, and each of them fails alone."""

from __future__ import annotations

import io

import pytest
import redis

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.overrides import OverrideRequest
from autoscaler.core.model import Reason
from autoscaler.daemon.faults import described
from autoscaler.demo.embedded import RedisServer
from autoscaler.sensors.queues import QueuesReading
from tests.support.builders import container, queue, worker
from tests.support.daemon import World, reason

PAUSED = OverrideRequest(paused=True).to_json()
BOXED = container(cpu_limit_cores=2.0, cpu_limited=True)


@pytest.mark.parametrize(
    ("part", "fault", "expected"),
    [
        ("backlog", BrokerError("gone"), Reason.UNKNOWN_SIZE),
        ("pools", BrokerError("gone"), Reason.UNKNOWN_SIZE),
        ("pools", OSError("gone"), Reason.UNKNOWN_SIZE),
        ("leads", BrokerError("gone"), Reason.NOT_LEADER),
    ],
)
def test_a_part_that_fails_is_unknown_is_reported_once_and_holds(run, part, fault, expected):
    world = World(backlog=QueuesReading(queues=(queue(0),)), pools=(worker("a@h", busy=3),))
    run(world)
    setattr(world, part, fault)
    world.pools = world.pools if part == "pools" else (worker("a@h"),)
    record, events = run(world, 3)
    assert (reason(record), world.resized) == (expected, [])
    sensor = {"backlog": "backlog", "pools": "pool", "leads": "lease"}[part]
    assert record.faults == {sensor: described(fault)}
    assert [event for event in events if event[1] == "sensor"] == [("condition", "sensor", sensor)]


def test_a_container_that_cannot_be_read_is_one_sensors_fault(run):
    world = World(box=BOXED)
    world.pools = (worker("a@h", processes=1, busy=1),)
    assert run(world)[0].plan.decisions[0].target == 2
    world.box = OSError("no /proc")
    record, _ = run(world)
    assert (record.faults, record.plan.decisions[0].desired) == ({"container": "OSError: no /proc"}, 2)


@pytest.mark.parametrize(
    "unread",
    [
        pytest.param(QueuesReading(queues=(queue(50),), override="{"), id="a slip in it"),
        pytest.param(
            QueuesReading(queues=(queue(50),), faults={"override": "NoPermissionError: no"}),
            id="no right to read it",
        ),
    ],
)
def test_an_override_that_cannot_be_read_any_more_still_stands(run, unread):
    world = World(backlog=QueuesReading(queues=(queue(50),), override=PAUSED))
    assert reason(run(world)[0]) is Reason.PAUSED
    world.backlog = unread
    record, events = run(world, 2)
    assert (reason(record), list(record.faults), world.resized) == (Reason.PAUSED, ["override"], [])
    assert events.count(("condition", "sensor", "override")) == 1
    world.backlog = QueuesReading(queues=(queue(50),))
    run(world)
    assert world.resized == [("a@h", 10)]


def test_known_mailboxes_stay_where_they_cannot_be_read(run):
    known = frozenset({"a@h"})
    world = World(backlog=QueuesReading(queues=(queue(0),), mailboxes=known))
    run(world)
    world.backlog = QueuesReading(queues=(queue(0),), faults={"mailboxes": "NoPermissionError: no"})
    run(world)
    world.backlog = QueuesReading(queues=(queue(0),))
    run(world)
    assert world.mailboxes == [known, known, frozenset()]


def test_a_slow_observation_keeps_the_stored_status_alive_before_anything_is_sent(tmp_path):
    with RedisServer(tmp_path / "redis") as server, redis.Redis(port=server.port) as client:
        world, lasts = World(client=client), []
        loop = world.controller(io.StringIO(), interval=2.0)
        loop.tick()
        client.expire("autoscaler:a:status", 1000)
        world.takes_seconds = 3.0
        world.restores = lambda: lasts.append(client.ttl("autoscaler:a:status"))
        loop.tick()
    assert 0 < lasts[0] <= 6
