"""The loop over hand-made edges: what it does where a part of the world fails."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.overrides import OverrideRequest
from autoscaler.broker.url import RedisUrlError
from autoscaler.core.decider import Decider
from autoscaler.core.groups import Scope
from autoscaler.core.model import Outcome, Reason, Result, WorkerReading
from autoscaler.daemon.faults import described
from autoscaler.daemon.loop import Controller, Edges, Timing, controller
from autoscaler.demo.embedded import RedisServer, free_port
from autoscaler.report.log import get_logger
from autoscaler.report.metrics import Metrics
from autoscaler.sensors.queues import QueuesReading
from autoscaler.sensors.workers import WorkersReading
from tests.support.builders import container, prompt_policy, queue, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.control.resize import ResizeRequest
    from autoscaler.core.decider import Plan
    from autoscaler.core.model import Observation
    from autoscaler.core.state import State

PAUSED = OverrideRequest(paused=True).to_json()
BOXED = container(cpu_limit_cores=2.0, cpu_limited=True)


@dataclass
class World:
    """Every edge at once: what it shows and what was done to it. A fault stands in the place of a reading."""

    backlog: QueuesReading | Exception = field(default_factory=lambda: QueuesReading(queues=(queue(50),)))
    pools: tuple[WorkerReading, ...] | Exception = (worker("a@h", busy=4),)
    box: Any = None
    leads: bool | Exception = True
    now: float = 1000.0
    takes_seconds: float = 0.0
    resized: list[tuple[str, int]] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    mailboxes: list[frozenset[str]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    #: What a resize of the worker of that name does, and what restoring does.
    resizes: dict[str, Callable[[], None]] = field(default_factory=dict)
    restores: Callable[[], None] = lambda: None
    once: list[Exception] = field(default_factory=list)
    #: What happens while a part is read.
    on_read: dict[str, Callable[[], None]] = field(default_factory=dict)
    client: redis.Redis | None = None
    observed: list[Observation] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics(monotonic=lambda: 0.0))

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"celery_autoscaler_{name}", labels)

    def reading(self, part: str) -> Any:
        self.on_read.get(part, lambda: None)()
        if self.once:
            raise self.once.pop()
        found = getattr(self, part)
        if isinstance(found, Exception):
            raise found
        return found

    def controller(self, log: io.StringIO, *, interval: float = 1.0, **policy: object) -> Controller:
        nobody = redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))  # nobody listens there
        client = self.client or nobody
        parameters = prompt_policy(**policy)
        return controller(
            name="a",
            decider=_Watched(self, Decider(policy=parameters, scope=Scope())),  # type: ignore[arg-type]
            edges=Edges(
                backlog=_Backlog(self),
                pools=_Pools(self),
                resizer=_Resizer(self),
                redis=lambda: client,
                reset=lambda: self.closed.append("redis"),
                container=_Container(self),
                lease=_Lease(self),
            ),
            timing=Timing(interval_seconds=interval),
            metrics=self.metrics,
            log=get_logger(level="info", style="json", redact=str, stream=log),
            clean=lambda value: value,
            monotonic=lambda: self.now,
            wall=lambda: 1.7e9 + self.now,
        )


class _Watched:
    """A real decider; keeps what it was shown."""

    def __init__(self, world: World, decider: Decider) -> None:
        self.world, self.decider = world, decider
        self.policy, self.scope, self.mode = decider.policy, decider.scope, decider.mode
        self.target_wait, self.named_queues = decider.target_wait, decider.named_queues
        self.name = decider.name

    def decide(self, state: State, observation: Observation) -> tuple[State, Plan]:
        self.world.observed.append(observation)
        return self.decider.decide(state, observation)


@dataclass
class _Part:
    world: World


class _Backlog(_Part):
    def read(self, queues: Sequence[str], workers: Sequence[WorkerReading] = ()) -> QueuesReading:
        del queues, workers
        return self.world.reading("backlog")


class _Pools(_Part):
    def read(self, mailboxes: frozenset[str], at: float) -> WorkersReading:
        del at
        self.world.mailboxes.append(mailboxes)
        self.world.now += self.world.takes_seconds
        return WorkersReading(workers=self.world.reading("pools"))


class _Container(_Part):
    def read(self) -> Any:
        return self.world.reading("box")


class _Lease(_Part):
    def hold(self) -> bool:
        return self.world.reading("leads")

    def release(self) -> None:
        self.world.closed.append("lease")


class _Resizer(_Part):
    def resize(self, requests: Sequence[ResizeRequest], now: float) -> list[Outcome]:
        del now
        self.world.batches.append([one.reading.name for one in requests])
        return [self._resize(one.reading, one.target) for one in requests]

    def _resize(self, reading: WorkerReading, target: int) -> Outcome:
        self.world.resized.append((reading.name, target))
        self.world.resizes.get(reading.name, lambda: None)()
        return Outcome(
            worker=reading.name, before=4, target=target, command="pool_resize", result=Result.DONE
        )

    def advance(self, readings: Mapping[str, WorkerReading], now: float) -> list[Outcome]:
        del readings, now
        return []

    def restore_orphans(self, now: float) -> None:
        del now
        self.world.restores()

    def close(self) -> None:
        self.world.closed.append("resizer")


@pytest.fixture
def run():
    """Ticks a world, one second apart; gives the last decision and the events that were logged."""
    controllers: dict[int, tuple[Controller, io.StringIO]] = {}

    def tick(world: World, times: int = 1, change: Callable[[], None] = lambda: None):
        if id(world) not in controllers:
            log = io.StringIO()
            controllers[id(world)] = (world.controller(log), log)
        controller, log = controllers[id(world)]
        change()
        for _ in range(times):
            record = controller.tick()
            world.now += 1
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        found = [(one["event"], one.get("subject"), one.get("name")) for one in lines]
        return record, [event for event in found if event[1] != "publish"]

    return tick


def reason(record):
    return record.plan.decisions[0].reason


def test_a_tick_gathers_decides_and_applies(run):
    world = World()
    record, events = run(world)
    assert world.resized == [("a@h", 10)]
    assert (reason(record), record.faults) == (Reason.AT_MAX, {})
    assert events == [("pool.resized", None, None)]


@pytest.mark.parametrize(
    ("part", "fault", "expected"),
    [
        ("backlog", BrokerError("gone"), Reason.UNKNOWN_SIZE),
        ("pools", BrokerError("gone"), Reason.UNKNOWN_SIZE),
        ("pools", OSError("gone"), Reason.UNKNOWN_SIZE),
        ("leads", BrokerError("gone"), Reason.NOT_LEADER),
    ],
)
def test_a_part_that_fails_is_unknown_told_once_and_holds(run, part, fault, expected):
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


@pytest.mark.parametrize(("seconds", "sent"), [(5.0, True), (5.1, False)])
def test_nothing_is_sent_on_an_observation_that_has_grown_old_and_that_is_said(run, seconds, *, sent):
    world = World(takes_seconds=seconds)
    record, events = run(world)
    assert (record.plan.decisions[0].target, world.resized) == (10, [("a@h", 10)] if sent else [])
    assert (("plan.expired", None, None) in events, world.count("expired_actions_total")) == (
        not sent,
        0 if sent else 1,
    )


def test_what_came_of_the_actions_goes_in_with_the_next_observation(run):
    world = World()
    run(world)
    run(world)
    first, second = (seen.outcomes for seen in world.observed)
    assert first == ()
    assert [(one.worker, one.target, one.result, one.sent_at) for one in second] == [
        ("a@h", 10, Result.DONE, 1000.0)
    ]


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


def test_told_to_stop_while_consumers_are_restored_it_sends_no_resize():
    stop = Event()
    world = World(restores=stop.set)
    world.controller(io.StringIO()).tick(stop.is_set)
    assert world.batches == []


def test_no_action_is_begun_once_it_is_told_to_stop():
    world, stop = World(), Event()
    stop.set()
    controller = world.controller(io.StringIO())
    controller.tick(stop.is_set)
    controller.run(stop)
    assert (world.resized, [part for part in world.closed if part != "redis"]) == ([], ["resizer", "lease"])


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
