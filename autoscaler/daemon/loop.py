"""The loop: observe, decide, act, report, one tick after another.

What the outside world raises becomes a fault of its part, in :mod:`~autoscaler.daemon.observe` and
:mod:`~autoscaler.daemon.act`. An unexpected error ends here: it is logged with its trace and counted, and the
next tick comes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoscaler.broker.fast_json import MANY, dumps
from autoscaler.core.state import State
from autoscaler.daemon.act import Actor
from autoscaler.daemon.foreign import ForeignResizes
from autoscaler.daemon.observe import Observer, Sources
from autoscaler.daemon.publish import DryRunLog, Publisher
from autoscaler.daemon.timing import Timing
from autoscaler.daemon.waits import WaitTracker
from autoscaler.daemon.without_consumers import WithoutConsumers
from autoscaler.report.status import TickRecord, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from redis import Redis
    from structlog.typing import FilteringBoundLogger

    from autoscaler.core.decider import Decider
    from autoscaler.core.plan import Plan
    from autoscaler.daemon.act import Resizer
    from autoscaler.daemon.memory_keeper import MemoryKeeper
    from autoscaler.daemon.observe import ContainerSource, Leadership, QueueSource, Seen, WorkerSource
    from autoscaler.report.metrics import Metrics

__all__ = ["Controller", "Edges", "Timing", "controller"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Everything outside that the loop talks to.

    ``lease``, ``memory`` and ``container`` are None where not needed. ``reported`` gets the
    record of each tick, last of all.
    """

    backlog: QueueSource
    pools: WorkerSource
    resizer: Resizer
    redis: Callable[[], Redis]
    reset: Callable[[], None]
    container: ContainerSource | None = None
    lease: Leadership | None = None
    memory: MemoryKeeper | None = None
    reported: Callable[[TickRecord], None] = lambda _: None


class Controller:
    """Runs one decider against the world; :func:`controller` puts one together.

    ``clean`` takes secrets out of values; ``wall`` is a clock of epoch seconds.
    """

    def __init__(
        self,
        *,
        name: str,
        decider: Decider,
        observer: Observer,
        actor: Actor,
        publisher: Publisher,
        edges: Edges,
        timing: Timing,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clean: Callable[[Any], Any],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._name = name
        self._decider = decider
        self._observer = observer
        self._actor = actor
        self._publisher = publisher
        self._lease = edges.lease
        self._timing = timing
        self._metrics = metrics
        self._log = log
        self._clean = clean
        self._monotonic = monotonic
        self._wall = wall
        self._memory = edges.memory
        self._reported = edges.reported
        self._state = State()
        self._foreign = ForeignResizes()
        self._without_consumers = WithoutConsumers()
        self._waits = WaitTracker(decider)
        self._ticked_at = monotonic()
        self._dry_run = DryRunLog(log)
        self.last: TickRecord | None = None

    def run(self, stop: Event) -> None:
        """Tick until ``stop`` is set. An action under way ends; none is begun after."""
        try:
            while not stop.is_set():
                started, due_at = self._monotonic(), math.inf
                try:
                    due_at = self.tick(stop.is_set).plan.due_at
                except Exception:  # noqa: BLE001 - the next tick may well do better
                    self._metrics.unexpected_error("tick")
                    self._log.exception("tick.crashed")
                stop.wait(max(0.0, self._timing.next_at(started, due_at) - self._monotonic()))
        finally:
            self._close()

    def tick(self, stopped: Callable[[], bool] = lambda: False) -> TickRecord:
        """Observe, decide, act, report."""
        seen = self._observe(stopped)
        plan = self._decide(seen)
        self._actor.act(plan, seen.observation, stopped)
        return self._report(seen, plan)

    def look(self) -> TickRecord:
        """Observe and decide; nothing is sent and nothing is written."""
        seen = self._observe()
        self.last = self._record(seen, self._decide(seen))
        return self.last

    def status(self) -> dict[str, Any]:
        """The last tick as JSON values, secrets taken out."""
        cleaned: dict[str, Any] = self._clean(self._shown())
        return cleaned

    def status_text(self) -> str:
        """The same as JSON. A text without any secret needs no look at each of its values."""
        shown = self._shown()
        large = self.last is not None and len(self.last.observation.workers) >= MANY
        text = dumps(shown, large=large)
        return text if self._clean(text) == text else dumps(self._clean(shown), large=large)

    def _shown(self) -> dict[str, Any]:
        if self.last is None:
            return {"at": None, "message": "no tick has ended yet"}
        decider = self._decider
        return {
            "name": self._name,
            "mode": decider.mode,
            **status(self.last),
            "policy": {name: getattr(decider.policy, name) for name in decider.policy.__dataclass_fields__},
            "target_wait_seconds": decider.target_wait.target_wait_seconds if decider.target_wait else None,
        }

    @property
    def would_have_resized(self) -> int:
        """How many resizes were logged and left out so far, for this is a dry run."""
        return self._dry_run.resizes

    def live(self) -> str | None:
        """Why the loop counts as stuck, or None."""
        age = self._monotonic() - self._ticked_at
        if age <= self._timing.live_seconds:
            return None
        return f"no tick has ended for {age:.0f} s; {self._timing.live_seconds:.0f} s are allowed"

    def ready(self) -> str | None:
        """Why what is shown may be old, or None."""
        if self._observer.read_at is None:
            return "Redis has not been read yet"
        age = self._monotonic() - self._observer.read_at
        if age <= self._timing.ready_seconds:
            return None
        return f"Redis was last read {age:.0f} s ago; {self._timing.ready_seconds:.0f} s are allowed"

    def _observe(self, stopped: Callable[[], bool] = lambda: False) -> Seen:
        known = [worker.reading for worker in self._state.workers.values()]
        seen = self._observer.observe(known, tuple(self._actor.outcomes), stopped)
        if seen.observation.leader:
            self._publisher.keep_alive()
        return seen

    def _decide(self, seen: Seen) -> Plan:
        if self._memory is not None:
            self._state = replace(self._state, memory=self._memory.restore(self._state.memory))
        self._state, plan = self._decider.decide(self._state, seen.observation)
        return plan

    def _report(self, seen: Seen, plan: Plan) -> TickRecord:
        self.last = record = self._record(seen, plan)
        self._ticked_at = self._monotonic()
        if not seen.interrupted:
            self._metrics.record(record)
            self._publisher.publish(record, self.status_text)
            if self._memory is not None and seen.observation.leader:
                self._memory.store(self._state.memory)
            for decision in self._dry_run.update(plan.decisions):
                self._metrics.would_resize(decision)
            self._reported(record)
        return record

    def _record(self, seen: Seen, plan: Plan) -> TickRecord:
        workers = {name: known.reading for name, known in self._state.workers.items()}
        return TickRecord(
            observation=seen.observation,
            plan=plan,
            workers=workers,
            waits=self._waits.note(seen.observation, plan, workers, seen.unresponsive),
            outcomes=tuple(self._actor.outcomes),
            faults=self._clean({**seen.faults, **self._actor.faults}),
            unresponsive=seen.unresponsive,
            left=seen.left,
            duplicates=seen.duplicates,
            unregistered=seen.unregistered,
            unreadable=seen.unreadable,
            memory=self._state.memory,
            name=self._decider.name,
            mode=self._decider.mode,
            foreign_resizes=self._foreign.note(seen.observation),
            rivals={name: known.rivals for name, known in self._state.workers.items() if known.rivals},
            without_consumers=self._without_consumers.note(seen.observation, self._actor.cancelled),
            expected_workers=self._decider.scope.workers,
            expected_queues=self._decider.named_queues,
            wall_time=self._wall(),
            seconds=self._monotonic() - seen.observation.at,
        )

    def _close(self) -> None:
        """Leave nothing half done, and let another take over; not over a Redis that did not answer."""
        self._actor.close()
        answers = self.last is not None and self.last.faults.keys().isdisjoint({"backlog", "lease"})
        if self._memory is not None and self.last is not None and answers and self.last.observation.leader:
            self._memory.store(self._state.memory, now=True)
        if self._lease is not None and answers:
            self._lease.release()


def controller(
    *,
    name: str,
    decider: Decider,
    edges: Edges,
    timing: Timing,
    metrics: Metrics,
    log: FilteringBoundLogger,
    clean: Callable[[Any], Any],
    monotonic: Callable[[], float],
    wall: Callable[[], float],
) -> Controller:
    """The controller of the autoscaler called ``name``, over ``edges``; nothing connects yet."""
    sources = Sources(
        backlog=edges.backlog,
        pools=edges.pools,
        reset=edges.reset,
        container=edges.container,
        lease=edges.lease,
    )
    publisher = Publisher(name, edges.redis, timing, log=log, clean=clean, monotonic=monotonic)
    actor = Actor(
        edges.resizer,
        decider.mode,
        timing,
        metrics=metrics,
        log=log,
        monotonic=monotonic,
        progress=publisher.keep_alive,
    )
    return Controller(
        name=name,
        decider=decider,
        observer=Observer(sources, decider.scope, decider.named_queues, monotonic=monotonic, wall=wall),
        actor=actor,
        publisher=publisher,
        edges=edges,
        timing=timing,
        metrics=metrics,
        log=log,
        clean=clean,
        monotonic=monotonic,
        wall=wall,
    )
