"""The page of a made-up daemon: real decisions, history and pages over a fleet that a test states."""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from autoscaler.core.decider import Mode
from autoscaler.core.model import Override, QueueReading, Result
from autoscaler.report.history import History, TargetWaits
from autoscaler.report.live import live
from autoscaler.report.page import Site
from autoscaler.report.status import status
from autoscaler.report.streams import Streams
from autoscaler.report.web import Pages, serving
from tests.support.builders import MIB, container, look, outcome, worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autoscaler.core.model import Observation
    from autoscaler.report.status import TickRecord
    from tests.support.ticks import Ticks


@dataclass
class MadeUpDaemon:
    """A daemon whose ticks are taken one by one; it sends nothing to anybody."""

    ticks: Ticks
    name: str = "default"
    last: TickRecord | None = None
    failures: list[tuple[str, BaseException]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = History(target_waits=TargetWaits(5.0))
        self.streams = Streams(self._live)

    def take(self, observation: Observation, **fields: Any) -> TickRecord:
        self.last = record = self.ticks.tick(observation, **fields)
        self.history.take(record, hold_seconds=6.0)
        self.streams.publish()
        return record

    def _live(self) -> dict[str, Any] | None:
        if self.last is None:
            return None
        return live(self.last, self.history, name=self.name, mode=Mode.ACT, interval_seconds=2.0)

    def pages(self) -> Pages:
        return Pages(
            live=lambda: None,
            ready=lambda: None,
            status=lambda: {} if self.last is None else status(self.last),
            registry=CollectorRegistry(),
            failed=lambda path, fault: self.failures.append((path, fault)),
            site=Site(
                history=lambda span, group: self.history.view(span, self.ticks.wall, group),
                streams=self.streams,
            ),
        )

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve the page; gives its address."""
        with serving(self.pages(), "127.0.0.1", 0) as port:
            yield f"http://127.0.0.1:{port}/"


def _queue(name: str, waiting: int, seconds_of_each: float) -> QueueReading:
    return QueueReading(
        name=name,
        waiting=waiting,
        oldest_age_seconds=round(waiting * seconds_of_each, 2),
        waiting_by_step=(waiting, 0, 0, 0),
    )


def _resized(record: Any, sizes: list[int]) -> Iterator[Any]:
    """The outcome of each resize of a tick; the sizes follow."""
    for place, decision in enumerate(record.plan.decisions):
        if decision.target not in {None, sizes[place]}:
            target = decision.target or 1
            yield outcome(target, name=decision.worker, before=sizes[place], result=Result.DONE)
            sizes[place] = target


def eventful_hour(daemon: MadeUpDaemon, *, seed: int = 7, first: int = 0) -> None:
    """An hour of two queues: bursts, a pause by an administrator and a minute without Redis.

    The sizes follow the decisions at once; the queues are drained by what runs. ``first`` is the tick of 1800
    to begin with.
    """
    draw = random.Random(seed)
    names = ("celery@mail-worker", "celery@report-worker")
    queues, service = ("mails", "reports"), (0.8, 3.0)
    sizes, backlog, ended = [2, 1], [0.0, 0.0], [0, 0]
    outcomes: tuple[Any, ...] = ()
    for tick in range(first, 1800):
        busy: list[int] = []
        for place in (0, 1):
            calm = (1.6, 0.25)[place]
            burst = max(0.0, math.sin(tick / (130, 260)[place])) ** 6 * (9, 2.2)[place]
            backlog[place] += draw.gauss(1, 0.25) * 2 * (calm + burst)
            done = min(backlog[place], 2 * sizes[place] / service[place])
            backlog[place] -= done
            busy.append(min(sizes[place], math.ceil(done * service[place] / 2)))
            ended[place] += round(done)
        readings = [
            _worker(
                names[place], queues[place], tick, size=sizes[place], busy=busy[place], ended=ended[place]
            )
            for place in (0, 1)
        ]
        found = tuple(
            _queue(queues[place], int(backlog[place]), service[place] / sizes[place]) for place in (0, 1)
        )
        seen = look(None, *readings, queues=found, at=1000.0 + 2 * tick, outcomes=outcomes)
        if 1000 <= tick < 1060:
            seen = replace(seen, override=Override(paused=True, by="kim", why="migration"))
        if 1400 <= tick < 1430:
            unread = tuple(
                replace(one, waiting=None, oldest_age_seconds=None, error="not read") for one in found
            )
            refused = {"backlog": "ConnectionError: refused"}
            daemon.take(replace(seen, workers=(), queues=unread), faults=refused)
            continue
        record = daemon.take(seen, outcomes=outcomes)
        outcomes = tuple(_resized(record, sizes))


def _worker(name: str, queue: str, tick: int, *, size: int, busy: int, ended: int) -> Any:
    limits = container(
        cpu_limit_cores=12.0,
        cpu_limited=True,
        cpu_usage_ratio=round(min(0.97, 0.05 + 0.07 * busy), 3),
        memory_limit_bytes=2048 * MIB,
        memory_limited=True,
        memory_used_bytes=(180 + 95 * size) * MIB,
    )
    return worker(
        name,
        size,
        busy=busy,
        queues=(queue,),
        completed=ended,
        uptime_seconds=7200.0 + 2 * tick,
        scheduled=3,
        container=limits,
        start_seconds=0.4,
    )
