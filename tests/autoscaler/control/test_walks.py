"""Random walks of a daemon and of drains over workers and a broker that fail: what is true in the end.

However daemons and drains are killed, held up or refused, each worker that lives consumes all of its queues
in the end, and no shrink and no shutdown met a running task.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import pytest

from autoscaler.broker.errors import BrokerError
from autoscaler.control.consumers import Consumers
from autoscaler.control.drain import Drain, DrainError
from autoscaler.control.quiesce import QuiescingResizer
from autoscaler.control.resize import ResizeRequest, WorkerResizer
from tests.support.builders import worker

#: How long a fetch that began before a cancellation may still bring a task, and a reading may be acted on.
FETCH_SECONDS, FRESH_SECONDS = 1.0, 5.0


class KilledError(Exception):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Worker:
    """A worker without companion; ``cut_at`` is when it last stopped to consume."""

    queues: frozenset[str]
    consumed: set[str] = field(default_factory=set)
    processes: int = 6
    busy: int = 0
    is_up: bool = True
    cut_at: float = -100.0
    hangs_until: float = 0.0
    started_at: float = 0.0

    def restart(self, now: float) -> None:
        self.consumed, self.processes, self.busy, self.is_up = set(self.queues), 6, 0, True
        self.started_at = now


class World:
    """Workers, a broker, and the time that passes; it is Redis and remote control for all that act on it."""

    def __init__(self, seed: int) -> None:
        self.random, self.now, self.calm = Random(seed), 1000.0, False
        self.workers = {f"w{number}@h": Worker(frozenset("ab"[: 1 + number % 2])) for number in range(3)}
        for one in self.workers.values():
            one.restart(self.now)
        self.records: dict[str, str] = {}
        self.hit: list[tuple[float, str, str]] = []

    def happens(self, probability: float) -> bool:
        return not self.calm and self.random.random() < probability

    def fail(self, probability: float = 0.04) -> None:
        if self.happens(probability):
            raise BrokerError("it failed")

    def pass_time(self, seconds: float) -> None:
        """Let tasks come and go."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.1)
            for one in self.workers.values():
                fetches = one.consumed or self.now - one.cut_at < FETCH_SECONDS
                if one.is_up and fetches and self.random.random() < 0.15:
                    one.busy = min(one.processes, one.busy + 1)
                elif one.busy and self.random.random() < 0.25:
                    one.busy -= 1

    # Redis

    def hgetall(self, _key):
        self.fail()
        return {name.encode(): record for name, record in self.records.items()}

    def hset(self, _key, *, mapping):
        self.fail()
        self.records |= mapping
        self.fail()

    def hdel(self, _key, *names):
        self.fail()
        for name in names:
            self.records.pop(name, None)
        self.fail()

    # Remote control

    def call_all(self, commands):
        self.fail()
        found = [
            {name: [{"ok": "done"}] for name in one.workers if self._answers(one, name)} for one in commands
        ]
        missing = any(len(replies) < len(one.workers) for one, replies in zip(commands, found, strict=True))
        self.pass_time(1.5 if missing else 0.01)
        self.fail()
        return found

    def _answers(self, command, name):
        one = self.workers[name]
        if not one.is_up or one.hangs_until > self.now or self.happens(0.05):
            return False
        getattr(self, command.name)(name, one, **command.arguments)
        return not self.happens(0.05)

    def cancel_consumer(self, _name, one, *, queue):
        consumed = bool(one.consumed)
        one.consumed.discard(queue)
        if consumed and not one.consumed:
            one.cut_at = self.now

    def add_consumer(self, _name, one, *, queue):
        one.consumed.add(queue)

    def pool_shrink(self, name, one, *, n):
        self._meet(name, one, "shrink")
        one.processes -= n

    def cast(self, command, _arguments, names):
        assert command == "shutdown"
        self.fail()
        for name in names:
            if not self.happens(0.05):
                self._meet(name, self.workers[name], command)
                self.workers[name].is_up = False

    def _meet(self, name, one, command):
        if one.is_up and one.busy:
            self.hit.append((self.now, name, command))

    def read(self):
        found = [
            worker(
                name,
                one.processes,
                companion=False,
                busy=one.busy,
                queues=tuple(sorted(one.consumed)),
                uptime_seconds=self.now - one.started_at,
            )
            for name, one in self.workers.items()
            if one.is_up and one.hangs_until <= self.now and not self.happens(0.06)
        ]
        self.pass_time(1.5 if self.happens(0.15) else 0.02)
        return found

    def consumers(self, owner):
        return Consumers(self, lambda: self, "cancelled", owner=owner, wall=lambda: self.now + 1.7e9)


class Walk:
    """One daemon after another, and now and then a drain beside them."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.start()

    def start(self) -> None:
        self.daemon = QuiescingResizer(
            WorkerResizer(self.world),
            self.world.consumers("autoscaler a"),
            quiesces=True,
            deadline_seconds=self.random.choice([5, 20]),
        )

    def tick(self) -> None:
        world, at = self.world, self.world.now
        readings = {one.name: one for one in world.read()}
        if world.happens(0.05):
            world.pass_time(self.random.choice([1, 10, 60]))  # held up
        held = world.happens(0.05)
        if readings:
            with suppress(BrokerError):
                self.daemon.restore_orphans(readings, world.now)
            with suppress(BrokerError):
                self.daemon.restore_lost(readings, lambda _: held)
        known = readings if world.now - at <= FRESH_SECONDS else {}
        self.daemon.advance(known, lambda _: held, since=at, now=world.now)
        if world.now - at <= FRESH_SECONDS and world.happens(0.4):
            shrinks = [one for one in readings.values() if one.processes > 1 and world.happens(0.5)]
            idle = [one for one in shrinks if one.name not in self.daemon.cancelled]
            self.daemon.resize(
                [ResizeRequest(reading=one, target=one.processes - 1) for one in idle], world.now
            )
        self.disturb()
        world.pass_time(2.0)

    def disturb(self) -> None:
        world = self.world
        if world.happens(0.05):
            if world.happens(0.4):
                self.daemon.close()
            self.start()
        one = self.random.choice(list(world.workers.values()))
        if world.happens(0.05):
            one.hangs_until = world.now + self.random.choice([2, 15])
        if world.happens(0.03):
            one.restart(world.now)

    def drain(self) -> None:
        world, names = self.world, self.random.sample(list(self.world.workers), self.random.choice([1, 2]))
        remote = Mortal(world)

        def read(*, everyone):
            return [one for one in world.read() if everyone or one.name in names]

        def sleep(seconds):
            if world.happens(0.05):
                remote.is_killed = True
                raise KilledError
            self.tick() if world.happens(0.5) else world.pass_time(seconds)

        drain = Drain(
            world,
            Consumers(remote, remote.redis, "cancelled", owner="drain", wall=lambda: world.now + 1.7e9),
            read,
            on_progress=lambda _: None,
            mailboxes=lambda: {name for name, one in world.workers.items() if one.is_up},
            monotonic=lambda: world.now,
            sleep=sleep,
        )
        with suppress(DrainError, BrokerError, KilledError):
            drain.run(names, deadline_seconds=self.random.choice([3, 15]), force=self.random.random() < 0.7)


class Mortal:
    """The world as a process sees it that may be killed: nothing reaches it from then on."""

    def __init__(self, world: World) -> None:
        self.world, self.is_killed = world, False

    def redis(self):
        if self.is_killed:
            raise BrokerError("killed")
        return self.world

    def call_all(self, commands):
        return self.redis().call_all(commands)


@pytest.mark.parametrize("seed", range(50))
def test_no_walk_ends_with_a_worker_without_its_consumers_or_meets_a_running_task(seed):
    walk = Walk(seed)
    for _ in range(walk.random.randint(5, 40)):
        walk.drain() if walk.random.random() < 0.15 else walk.tick()
    walk.world.calm = True  # no more faults, and all that was begun comes to its end
    for _ in range(60):
        walk.tick()
    alive = {name: one for name, one in walk.world.workers.items() if one.is_up}
    without = {name: one.queues - one.consumed for name, one in alive.items() if one.queues - one.consumed}
    assert (without, alive.keys() & walk.world.records.keys(), walk.world.hit) == ({}, set(), [])
