"""A loop over hand-made edges: what each of them shows, and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from autoscaler.core.decider import Decider
from autoscaler.core.groups import Scope
from autoscaler.core.model import Outcome, Result, WorkerReading
from autoscaler.daemon.loop import Controller, Edges, Timing, controller
from autoscaler.demo.embedded import free_port
from autoscaler.report.log import get_logger
from autoscaler.report.metrics import Metrics
from autoscaler.sensors.queues import QueuesReading
from autoscaler.sensors.workers import WorkersReading
from tests.support.builders import prompt_policy, queue, worker

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.control.consumers import Cancellation
    from autoscaler.control.resize import ResizeRequest
    from autoscaler.core.decider import Plan
    from autoscaler.core.model import Observation
    from autoscaler.core.state import State


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
    #: What a step of a longer action was shown: the workers, whether the first is to be left alone, since
    #: when they were read, and the time.
    advanced: list[tuple[list[str], bool, float, float]] = field(default_factory=list)
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
            decider=Watched(self, Decider(policy=parameters, scope=Scope())),  # type: ignore[arg-type]
            edges=Edges(
                backlog=Backlog(self),
                pools=Pools(self),
                resizer=Resizer(self),
                redis=lambda: client,
                reset=lambda: self.closed.append("redis"),
                container=Container(self),
                lease=Lease(self),
            ),
            timing=Timing(interval_seconds=interval),
            metrics=self.metrics,
            log=get_logger(level="info", style="json", redact=str, stream=log),
            clean=lambda value: value,
            monotonic=lambda: self.now,
            wall=lambda: 1.7e9 + self.now,
        )


class Watched:
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
class Part:
    world: World


class Backlog(Part):
    def read(self, queues: Sequence[str], workers: Sequence[WorkerReading] = ()) -> QueuesReading:
        del queues, workers
        return self.world.reading("backlog")


class Pools(Part):
    def read(self, mailboxes: frozenset[str], at: float) -> WorkersReading:
        del at
        self.world.mailboxes.append(mailboxes)
        self.world.now += self.world.takes_seconds
        return WorkersReading(workers=self.world.reading("pools"))


class Container(Part):
    def read(self) -> Any:
        return self.world.reading("box")


class Lease(Part):
    def hold(self) -> bool:
        return self.world.reading("leads")

    def release(self) -> None:
        self.world.closed.append("lease")


class Resizer(Part):
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

    def advance(
        self,
        readings: Mapping[str, WorkerReading],
        left_alone: Callable[[str], bool],
        *,
        since: float,
        now: float,
    ) -> list[Outcome]:
        self.world.advanced.append((sorted(readings), left_alone("a@h"), since, now))
        return []

    def restore_orphans(self, readings: Mapping[str, WorkerReading], now: float) -> list[Cancellation]:
        del readings, now
        self.world.restores()
        return []

    def restore_lost(
        self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool]
    ) -> list[Cancellation]:
        del readings, left_alone
        return []

    @property
    def cancelled(self) -> frozenset[str]:
        return frozenset()

    def close(self) -> None:
        self.world.closed.append("resizer")


def reason(record):
    return record.plan.decisions[0].reason
