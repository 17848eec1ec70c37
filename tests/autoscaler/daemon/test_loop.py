"""The loop over hand-made edges: what it does where a part of the world fails."""

from __future__ import annotations

import io
import json
from threading import Event

import pytest
import redis

from autoscaler.broker.errors import BrokerError
from autoscaler.core.model import Reason
from autoscaler.demo.embedded import RedisServer
from autoscaler.sensors.queues import QueuesReading
from tests.support.builders import queue
from tests.support.daemon import World, reason


def test_a_tick_gathers_decides_and_applies(run):
    world = World()
    record, events = run(world)
    assert world.resized == [("a@h", 10)]
    assert (reason(record), record.faults) == (Reason.AT_MAX, {})
    assert events == [("pool.resized", None, None)]


def test_an_error_that_nobody_foresaw_ends_its_tick_alone_and_is_logged_with_its_trace():
    stop, log = Event(), io.StringIO()
    world = World(takes_seconds=2.0, once=[ZeroDivisionError("nobody foresaw this")], restores=stop.set)
    world.controller(log, interval=0.01).run(stop)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    crashed = [line for line in lines if line["event"] == "tick.crashed"]
    assert "ZeroDivisionError: nobody foresaw this" in crashed[0]["exception"]
    assert "Traceback" in crashed[0]["exception"]
    assert world.count("unexpected_errors_total", step="tick") == len(crashed) == 1
    assert len(world.observed) == 1


def test_live_is_about_the_loop_and_ready_about_redis():
    world = World()
    controller = world.controller(io.StringIO())
    assert (controller.live(), controller.ready()) == (None, "Redis has not been read yet")
    controller.tick()
    assert (controller.live(), controller.ready()) == (None, None)
    world.backlog = BrokerError("gone")
    world.now += 20
    controller.tick()
    assert controller.live() is None
    assert controller.ready() == "Redis was last read 20 s ago; 6 s are allowed"
    world.now += 1000
    assert controller.live() == "no tick has ended for 1000 s; 30 s are allowed"


def test_a_standby_that_is_stopped_while_it_reads_the_workers_does_not_act_as_leader(tmp_path):
    with RedisServer(tmp_path / "redis") as server, redis.Redis(port=server.port) as client:
        world, stop, log = World(client=client, leads=False), Event(), io.StringIO()
        loop = world.controller(log)
        loop.tick()
        logged = log.getvalue()
        client.set("autoscaler:a:status", "the leader's")
        world.on_read["pools"] = stop.set
        record = loop.tick(stop.is_set)
        assert client.get("autoscaler:a:status") == b"the leader's"
    assert (record.observation.leader, log.getvalue()) == (False, logged)


def test_a_tick_that_is_stopped_while_the_queues_are_read_reports_nothing(tmp_path):
    with RedisServer(tmp_path / "redis") as server, redis.Redis(port=server.port) as client:
        world, stop, log = World(client=client), Event(), io.StringIO()
        loop = world.controller(log)
        loop.tick()
        before = (
            client.get("autoscaler:a:status"),
            log.getvalue(),
            world.count("tick_duration_seconds_count"),
        )
        world.on_read["backlog"] = stop.set
        loop.tick(stop.is_set)
        assert (
            client.get("autoscaler:a:status"),
            log.getvalue(),
            world.count("tick_duration_seconds_count"),
        ) == before


@pytest.mark.parametrize(
    ("part", "found", "released"),
    [
        ("backlog", QueuesReading(queues=(queue(0),), override="{"), ["lease"]),
        ("box", OSError("no /proc"), ["lease"]),
        ("backlog", BrokerError("gone"), []),
        ("leads", BrokerError("gone"), []),
    ],
)
def test_the_lease_is_released_at_the_end_unless_redis_did_not_answer(part, found, released):
    world, stop = World(), Event()
    setattr(world, part, found)
    controller = world.controller(io.StringIO())
    controller.tick()
    stop.set()
    controller.run(stop)
    assert [one for one in world.closed if one == "lease"] == released
