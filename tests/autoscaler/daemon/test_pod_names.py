"""Pods come and go under new names all day: what a daemon keeps of those that are gone."""

from __future__ import annotations

import gc
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import redis
from prometheus_client import generate_latest

from autoscaler.broker.keys import Keys
from autoscaler.broker.lease import Lease
from autoscaler.broker.mailboxes import MailboxRemover
from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.daemon.loop import Controller, Edges, Timing, controller
from autoscaler.daemon.recorder import Recorder
from autoscaler.demo.embedded import RedisServer
from autoscaler.report.history import History, TargetWaits
from autoscaler.report.log import get_logger
from autoscaler.report.metrics import Metrics
from autoscaler.sensors.queues import KeyLayout, QueueSensor
from autoscaler.sensors.workers import WorkerSensor
from tests.support.builders import prompt_policy
from tests.support.daemon import Resizer, World
from tests.support.worker_replies import REPORT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

MAILBOXES = "_kombu.binding.celery.pidbox"
ALIVE = 10
#: So often a pod is replaced, and the daemon looks: 1,000 names in a day.
EVERY_SECONDS = 86.4
#: What is learnt of a pod may outlast it by so long: its successor goes on from there.
REMEMBERED_SECONDS = 3600
PREFIX = "celery@pod-"
#: Nothing is to be resized: the last 500 actions are kept by the names of their workers.
IDLE = {**REPORT, "queues": ["celery"], "size": 1, "ready": 1, "busy": 0, "reserved": 0}


@dataclass
class Pods:
    """A remote control that pods answer; those that are killed leave their mailbox behind, others do not."""

    client: redis.Redis
    born: dict[str, float] = field(default_factory=dict)
    now: float = 1000.0
    names: int = 0

    def start(self) -> None:
        self.names += 1
        self.born[f"{PREFIX}{self.names:04d}"] = self.now
        self.client.sadd(MAILBOXES, f"\x06\x16\x06\x16{PREFIX}{self.names:04d}.celery.pidbox")

    def end_oldest(self) -> None:
        name = min(self.born)
        del self.born[name]
        if self.names % 2:
            self.client.srem(MAILBOXES, f"\x06\x16\x06\x16{name}.celery.pidbox")

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        assert (command, arguments) == ("pool_report", {})
        return {
            name: [{**IDLE, "uptime_seconds": self.now - self.born[name]}]
            for name in workers
            if name in self.born
        }

    def roll_call(self, expected: Collection[str]) -> dict[str, list[Any]]:
        del expected
        return {name: [{"ok": "pong"}] for name in self.born}


@dataclass
class Daemon:
    """The loop, its metrics and its history over real Redis, with the clock of the pods."""

    pods: Pods
    world: World
    loop: Controller
    recorder: Recorder
    metrics: Metrics

    def tick(self, seconds: float) -> None:
        self.pods.now += seconds
        self.loop.tick()
        self.recorder.step()
        self.world.advanced.clear()  # what the double of the resizer has written down

    def series(self) -> set[str]:
        """The series without their values."""
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with RedisServer(tmp_path / "redis") as server, redis.Redis(port=server.port) as client:
        yield daemon_over(client)


def daemon_over(client: redis.Redis) -> Daemon:
    pods, world, keys = Pods(client), World(), Keys(name="a")
    timing = Timing(interval_seconds=EVERY_SECONDS)

    def monotonic() -> float:
        return pods.now

    def wall() -> float:
        return 1.7e9 + pods.now

    log = get_logger(level="info", style="json", redact=str, stream=io.StringIO())
    history = History(target_waits=TargetWaits(5.0))
    recorder = Recorder(
        "a",
        history,
        timing,
        redis=lambda: client,
        reset=lambda: None,
        log=log,
        monotonic=monotonic,
        wall=wall,
    )
    metrics = Metrics(monotonic=monotonic)
    loop = controller(
        name="a",
        decider=Decider(policy=prompt_policy(), target_wait=TargetWaitPolicy(), name="a"),
        edges=Edges(
            backlog=QueueSensor(lambda: client, KeyLayout(), keys.override, wall=wall),
            pools=WorkerSensor(pods, remove_mailboxes=MailboxRemover(lambda: client, "").remove),
            resizer=Resizer(world),
            redis=lambda: client,
            reset=lambda: None,
            lease=Lease(lambda: client, keys.lease, seconds=60),
            reported=recorder.take,
        ),
        timing=timing,
        metrics=metrics,
        log=log,
        clean=lambda value: value,
        monotonic=monotonic,
        wall=wall,
    )
    return Daemon(pods, world, loop, recorder, metrics)


def names_held() -> set[str]:
    """The pods' names that anything in this process still holds, frames of functions left out."""
    found: set[str] = set()
    for one in gc.get_objects():
        kind = type(one)
        if kind in {dict, list, tuple, set, frozenset} or issubclass(kind, tuple):
            found.update(item for item in [*one] if type(item) is str and item.startswith(PREFIX))
    return found


@pytest.mark.parametrize("names", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_pod_names_that_come_and_go_leave_no_series_no_memory_and_no_key(daemon: Daemon, names: int):
    pods, client = daemon.pods, daemon.pods.client
    for _ in range(ALIVE):
        pods.start()
    for _ in range(8):
        daemon.tick(EVERY_SECONDS)
    # What is there with the first pods is what a day leaves, with other names in it.
    keys, series = set(client.scan_iter()), len(daemon.series())
    while pods.names < names + ALIVE:
        pods.start()
        pods.end_oldest()
        daemon.tick(EVERY_SECONDS)
    last = sorted(pods.born)
    named = {one for one in daemon.series() if PREFIX in one}
    assert {name for name in last if any(name in one for one in named)} == set(last)
    assert not {one for one in named if not any(name in one for name in last)}
    assert abs(len(daemon.series()) - series) <= 10
    assert set(client.scan_iter()) == keys
    hour = REMEMBERED_SECONDS / EVERY_SECONDS
    assert ALIVE + 3 * hour > len(client.smembers(MAILBOXES))
    gc.collect()
    assert len(names_held()) < ALIVE + 3 * hour
