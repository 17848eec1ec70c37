"""Several workers on one queue as discrete events, as Celery runs them, under the daemon's own decider.

Each worker fetches ahead as long as it holds less than its prefetch (``multiplier`` for each process), the
one that has waited longest first, and keeps what it has fetched. Everything else is as in the engine of the
back-test: a process that is asked for is ready a while later, a retired one ends with its task.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import Observation, Outcome, QueueReading, Result, WorkerReading
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.settings.table import RUN, pick

#: (arrival, service), in seconds.
Tasks = list[tuple[float, float]]
#: The usual time between two looks and the shortest one, as the daemon has them by default.
_INTERVAL, _MIN_INTERVAL = (float(setting.default) for setting in pick(RUN, "interval", "min_interval"))


@dataclass
class _Worker:
    name: str
    multiplier: int
    size: int = 1
    idle: int = 1
    busy: int = 0
    retiring: int = 0
    completed: int = 0
    grown: bool = False
    held: deque[int] = field(default_factory=deque)
    paid_seconds: float = 0.0
    paid_at: float = 0.0

    def pay(self, at: float) -> None:
        self.paid_seconds += (self.size + self.retiring) * (at - self.paid_at)
        self.paid_at = at

    def reading(self, at: float, start_seconds: float) -> WorkerReading:
        return WorkerReading(
            name=self.name,
            processes=self.size,
            retiring=self.retiring,
            busy=self.busy,
            reserved=len(self.held),
            scheduled=0,
            completed=self.completed,
            uptime_seconds=at,
            queues=("celery",),
            companion=True,
            start_seconds=start_seconds if self.grown else None,
        )


class Outcomes(NamedTuple):
    """Share of the tasks that started within the target, their longest wait, cost and starts."""

    share: float
    p95_seconds: float
    longest_seconds: float
    cost: float
    starts: int


@dataclass
class FleetModel:
    """``workers`` workers of ``min_processes`` to ``max_processes``; ``run`` plays one list of tasks.

    They begin with ``min_processes``. Looks come as the daemon's, when one is due. Tasks that arrive in the
    first ``warm_up_seconds`` run, and do not count.
    """

    workers: int
    max_processes: int
    multiplier: int = 4
    min_processes: int = 1
    target_seconds: float = 5.0
    interval_seconds: float = _INTERVAL
    min_interval_seconds: float = _MIN_INTERVAL
    start_seconds: float = 1.0
    warm_up_seconds: float = 0.0

    def run(self, tasks: Tasks) -> Outcomes:
        self.tasks, self.waits = tasks, [float("inf")] * len(tasks)
        size = self.min_processes
        self.fleet = [_Worker(f"w{number}", self.multiplier, size, size) for number in range(self.workers)]
        self.queue: deque[int] = deque()
        self.polling = deque(self.fleet)
        self.events: list[tuple[float, int, str, object]] = []
        self.state, self.outcomes, self.starts, self.count = State(), (), 0, 0
        self.decider = Decider(
            policy=Policy(min_processes=self.min_processes, max_processes=self.max_processes),
            target_wait=TargetWaitPolicy(target_wait_seconds=self.target_seconds),
            min_interval_seconds=self.min_interval_seconds,
            interval_seconds=self.interval_seconds,
        )
        for number, (arrival, _) in enumerate(tasks):
            self._at(arrival, "arrival", number)
        self.end = tasks[-1][0] + 60 + max(service for _, service in tasks)
        self._at(0.0, "tick", None)
        at = 0.0
        while self.events:
            at, _, kind, what = heapq.heappop(self.events)
            getattr(self, f"_{kind}")(at, what)
            self._dispatch(at)
        for worker in self.fleet:
            worker.pay(at)
        return self._result()

    def _result(self) -> Outcomes:
        counted = zip(self.tasks, self.waits, strict=True)
        waits = sorted(wait for (arrival, _), wait in counted if arrival >= self.warm_up_seconds)
        return Outcomes(
            share=sum(wait <= self.target_seconds for wait in waits) / len(waits),
            p95_seconds=waits[int(0.95 * len(waits))],
            longest_seconds=waits[-1],
            cost=sum(worker.paid_seconds for worker in self.fleet)
            / sum(service for _, service in self.tasks),
            starts=self.starts,
        )

    def _at(self, at: float, kind: str, what: object) -> None:
        self.count += 1
        heapq.heappush(self.events, (at, self.count, kind, what))

    def _arrival(self, _at: float, number: int) -> None:
        self.queue.append(number)

    def _freed(self, at: float, worker: _Worker, *, ended: bool) -> None:
        if ended:
            worker.busy -= 1
            worker.completed += 1
        if worker.retiring:
            worker.pay(at)
            worker.retiring -= 1
        else:
            worker.idle += 1
            self._start(at, worker)

    def _ended(self, at: float, number: int) -> None:
        self._freed(at, self.fleet[number], ended=True)

    def _ready(self, at: float, number: int) -> None:
        self.fleet[number].grown = True
        self._freed(at, self.fleet[number], ended=False)

    def _start(self, at: float, worker: _Worker) -> None:
        while worker.idle and worker.held:
            task = worker.held.popleft()
            worker.idle -= 1
            worker.busy += 1
            self.waits[task] = at - self.tasks[task][0]
            self._at(at + self.tasks[task][1], "ended", self.fleet.index(worker))

    def _dispatch(self, at: float) -> None:
        full = 0
        while self.queue and full < len(self.polling):
            worker = self.polling[0]
            self.polling.rotate(-1)
            if len(worker.held) < worker.multiplier * worker.size:
                worker.held.append(self.queue.popleft())
                self._start(at, worker)
                full = 0
            else:
                full += 1

    def _tick(self, at: float, _: object) -> None:
        seen = Observation(
            at=at,
            queues=(QueueReading(name="celery", waiting=len(self.queue)),),
            workers=tuple(worker.reading(at, self.start_seconds) for worker in self.fleet),
            outcomes=self.outcomes,
        )
        self.state, plan = self.decider.decide(self.state, seen)
        sent = []
        for worker, decision in zip(self.fleet, plan.decisions, strict=True):
            if decision.target != worker.size:
                sent.append(
                    Outcome(
                        worker=worker.name,
                        before=worker.size,
                        target=decision.target,
                        command="pool_resize",
                        result=Result.DONE,
                        sent_at=at,
                    )
                )
                self._resize(at, worker, decision.target)
        self.outcomes = tuple(sent)
        following = min(at + self.interval_seconds, max(at + self.min_interval_seconds, plan.due_at))
        if following <= self.end:
            self._at(following, "tick", None)

    def _resize(self, at: float, worker: _Worker, target: int) -> None:
        worker.pay(at)
        more = target - worker.size
        worker.size = target
        if more < 0:
            gone = min(worker.idle, -more)
            worker.idle -= gone
            worker.retiring += -more - gone
            return
        back = min(more, worker.retiring)
        worker.retiring -= back
        self.starts += more - back
        for _ in range(more - back):
            self._at(at + self.start_seconds, "ready", self.fleet.index(worker))


def poisson(load: float, processes: int, service: float, *, seconds: float, seed: int = 1) -> Tasks:
    """Arrivals at random that keep ``load`` of so many processes busy; exponential service times."""
    rng = random.Random(f"several workers/{seed}")
    tasks, at = [], 0.0
    while True:
        at += rng.expovariate(load * processes / service)
        if at > seconds:
            return tasks
        tasks.append((at, rng.expovariate(1 / service)))


def regular(per_second: float, service: float, *, seconds: float) -> Tasks:
    """A task at even distances, all of one length."""
    return [(number / per_second, service) for number in range(1, int(seconds * per_second) + 1)]
