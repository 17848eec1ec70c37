"""The loop: gather, decide, apply, record. The only place that catches.

A sensor that fails makes its part unknown and is told once, not in every tick. Nothing is sent on a
reading that has grown old in the meantime, for instance while this process was stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from autoscaler.broker import keys as contract
from autoscaler.broker.connections import RedisUrlError
from autoscaler.broker.keys import OverrideError, OverrideRequest
from autoscaler.core.decider import Mode
from autoscaler.core.model import Action, Observation, Override, QueueReading, Reason, Result
from autoscaler.core.state import State
from autoscaler.report.status import TickRecord, conditions, outcome_fields, status
from autoscaler.sensors.container import overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from threading import Event

    from redis import Redis
    from structlog.typing import FilteringBoundLogger

    from autoscaler.core.decider import Decider, Plan
    from autoscaler.core.model import ContainerReading, Outcome, WorkerReading
    from autoscaler.report.metrics import Metrics
    from autoscaler.sensors.queues import QueuesReading
    from autoscaler.sensors.workers import WorkersReading

#: What the outside world may throw at a tick.
FAULTS = (OSError, RedisError, KombuError, RedisUrlError)


class QueueSource(Protocol):
    """Reads queue depths and what else Redis knows."""

    def read(self, queues: Sequence[str]) -> QueuesReading:
        """One round trip."""


class WorkerSource(Protocol):
    """Reads the workers."""

    def read(self, mailboxes: frozenset[str], at: float) -> WorkersReading:
        """All that answer."""


class ContainerSource(Protocol):
    """Reads the container of the one worker of a sidecar."""

    def read(self) -> ContainerReading | None:
        """What is known of it."""


class Resizer(Protocol):
    """Resizes workers; times are monotonic seconds. It never raises for what a worker or the broker does."""

    def resize(self, reading: WorkerReading, target: int, now: float) -> Outcome:
        """Resize one worker, or begin with it."""

    def advance(self, readings: Mapping[str, WorkerReading], now: float) -> list[Outcome]:
        """Go on with what takes more than one tick."""

    def restore_orphans(self, now: float) -> None:
        """Put back what an earlier run has left half done."""

    def close(self) -> None:
        """Put back what is half done."""


class Leadership(Protocol):
    """Decides who acts."""

    def hold(self) -> bool:
        """Whether this autoscaler acts."""

    def release(self) -> None:
        """Let another take over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Everything outside that the loop talks to. ``lease`` and ``container`` are None where not needed."""

    backlog: QueueSource
    pools: WorkerSource
    resizer: Resizer
    redis: Callable[[], Redis]
    reset: Callable[[], None]
    container: ContainerSource | None = None
    lease: Leadership | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The pace of the loop, in seconds."""

    interval_seconds: float = 2.0
    inspect_timeout_seconds: float = 1.5

    @property
    def fresh_seconds(self) -> float:
        """How old a reading may be when something is sent on it: a slow gathering, and no more."""
        return max(5.0, 2 * (self.interval_seconds + self.inspect_timeout_seconds))

    @property
    def lease_seconds(self) -> float:
        """How long the lease outlives its holder: longer than a reading is fresh."""
        return max(10.0, self.fresh_seconds + self.interval_seconds)

    @property
    def live_seconds(self) -> float:
        """How long the loop may take between two ticks before it counts as stuck."""
        return max(30.0, 5 * self.interval_seconds)

    @property
    def ready_seconds(self) -> float:
        """How old the last good reading of Redis may be."""
        return max(6.0, 3 * self.interval_seconds)


@dataclass(slots=True)
class _Gathered:
    """What one tick has seen, as it comes in."""

    queues: tuple[QueueReading, ...] = ()
    pools: WorkersReading | None = None
    override: Override = field(default_factory=Override)
    leader: bool = True
    faults: dict[str, str] = field(default_factory=dict)


class Controller:
    """Runs one decider against the world."""

    def __init__(
        self,
        *,
        name: str,
        decider: Decider,
        edges: Edges,
        timing: Timing,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clean: Callable[[Any], Any],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._decider = decider
        self._edges = edges
        self._timing = timing
        self._metrics = metrics
        self._log = log
        self._clean = clean
        self._monotonic = monotonic
        self._wall = wall
        self._state = State()
        self._mailboxes: frozenset[str] = frozenset()
        self._override = OverrideRequest()
        self._told: dict[tuple[str, str], str] = {}
        self._publish_fault: str | None = None
        self._ticked_at = monotonic()
        self._read_at: float | None = None
        self.last: TickRecord | None = None

    def run(self, stop: Event) -> None:
        """Tick until ``stop`` is set. An action under way ends; none is begun after."""
        try:
            while not stop.is_set():
                started = self._monotonic()
                self.tick(stop)
                stop.wait(max(0.0, started + self._timing.interval_seconds - self._monotonic()))
        finally:
            self._give_back()

    def _give_back(self) -> None:
        """Leave nothing half done, and let another take over at once; not over a Redis that was silent."""
        self._edges.resizer.close()
        answers = self.last is not None and not self.last.faults
        if self._edges.lease is not None and answers:
            self._edges.lease.release()

    def tick(self, stop: Event | None = None) -> TickRecord:
        """Gather, decide, apply, record."""
        at = self._monotonic()
        gathered = self._gather(at, stop)
        observation = self._observe(at, gathered)
        self._state, plan = self._decider.decide(self._state, observation)
        outcomes = self._apply(plan, observation, stop)
        record = self._summary(observation, plan, gathered, outcomes)
        self._record(record)
        return record

    def look(self) -> TickRecord:
        """Gather and decide; nothing is sent and nothing is written."""
        at = self._monotonic()
        gathered = self._gather(at, None)
        observation = self._observe(at, gathered)
        self._state, plan = self._decider.decide(self._state, observation)
        self.last = self._summary(observation, plan, gathered, ())
        return self.last

    def _summary(
        self, observation: Observation, plan: Plan, gathered: _Gathered, outcomes: tuple[Outcome, ...]
    ) -> TickRecord:
        return TickRecord(
            observation=observation,
            plan=plan,
            workers={name: known.reading for name, known in self._state.workers.items()},
            outcomes=outcomes,
            faults=self._clean(gathered.faults),
            unresponsive=gathered.pools.unresponsive if gathered.pools else (),
            duplicates=gathered.pools.duplicates if gathered.pools else (),
            wall_time=self._wall(),
            seconds=self._monotonic() - observation.at,
        )

    def status(self) -> dict[str, Any]:
        """The last tick as JSON values, secrets taken out."""
        if self.last is None:
            return {"at": None, "message": "no tick has ended yet"}
        latency = self._decider.latency
        shown = {
            "name": self._name,
            "mode": self._decider.mode,
            **status(self.last, self._decider.policy),
            "policy": {
                name: getattr(self._decider.policy, name)
                for name in self._decider.policy.__dataclass_fields__
            },
            "target_wait_seconds": latency.target_wait_seconds if latency else None,
        }
        cleaned: dict[str, Any] = self._clean(shown)
        return cleaned

    def live(self) -> str | None:
        """Why the loop counts as stuck, or None."""
        age = self._monotonic() - self._ticked_at
        if age <= self._timing.live_seconds:
            return None
        return f"no tick has ended for {age:.0f} s; {self._timing.live_seconds:.0f} s are allowed"

    def ready(self) -> str | None:
        """Why what is shown may be old, or None."""
        if self._read_at is None:
            return "Redis has not been read yet"
        age = self._monotonic() - self._read_at
        if age <= self._timing.ready_seconds:
            return None
        return f"Redis was last read {age:.0f} s ago; {self._timing.ready_seconds:.0f} s are allowed"

    # Gather

    def _gather(self, at: float, stop: Event | None) -> _Gathered:
        gathered = _Gathered(override=self._override.at(self._wall()))
        known = sorted(self._decider.scope.queues or self._consumed())
        backlog = self._sense("backlog", gathered, lambda: self._edges.backlog.read(known))
        if backlog is None or (stop is not None and stop.is_set()):
            gathered.queues = tuple(QueueReading(name=name, waiting=None, error="not read") for name in known)
            gathered.leader = self._edges.lease is None
            self._edges.reset()
            return gathered
        self._take_backlog(gathered, backlog)
        gathered.pools = self._sense("pool", gathered, lambda: self._edges.pools.read(self._mailboxes, at))
        if self._edges.lease is not None and not (stop is not None and stop.is_set()):
            gathered.leader = bool(self._sense("lease", gathered, self._edges.lease.hold))
        if gathered.pools is not None and not self._decider.scope.queues:
            consumed = self._consumed(gathered.pools.workers)
            if not consumed <= set(known):
                again = sorted(consumed)
                backlog = self._sense("backlog", gathered, lambda: self._edges.backlog.read(again))
                gathered.queues = backlog.queues if backlog else gathered.queues
        return gathered

    def _take_backlog(self, gathered: _Gathered, backlog: QueuesReading) -> None:
        self._read_at = self._monotonic()
        gathered.queues = backlog.queues
        gathered.faults |= backlog.faults
        if "mailboxes" not in backlog.faults:
            self._mailboxes = backlog.mailboxes
        try:
            # What an administrator asked for last still stands: a slip must not undo a pause.
            if "override" not in backlog.faults:
                text = backlog.override
                self._override = OverrideRequest() if text is None else OverrideRequest.from_json(text)
        except OverrideError as fault:
            gathered.faults["override"] = str(fault)
        gathered.override = self._override.at(self._wall())

    def _sense(self, sensor: str, gathered: _Gathered, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except FAULTS as fault:
            gathered.faults[sensor] = f"{type(fault).__name__}: {fault}"
            return None

    def _consumed(self, workers: Sequence[WorkerReading] | None = None) -> set[str]:
        if workers is None:
            workers = [known.reading for known in self._state.workers.values()]
        return {queue for reading in workers for queue in reading.queues}

    def _observe(self, at: float, gathered: _Gathered) -> Observation:
        workers = gathered.pools.workers if gathered.pools else ()
        if self._edges.container is not None:
            stated = self._sense("container", gathered, self._edges.container.read)
            workers = tuple(
                replace(reading, container=overlay(stated, reading.container))
                if self._decider.scope.may_touch(reading.name)
                else reading
                for reading in workers
            )
        return Observation(
            at=at,
            queues=gathered.queues,
            workers=workers,
            override=gathered.override,
            leader=gathered.leader,
        )

    # Apply

    def _apply(self, plan: Plan, observation: Observation, stop: Event | None) -> tuple[Outcome, ...]:
        readings = {reading.name: reading for reading in observation.workers}
        outcomes: list[Outcome] = []
        told_to_stop = stop is not None and stop.is_set()
        if observation.leader and not told_to_stop:
            # In every mode: a worker that was left deaf is nobody's wish.
            self._edges.resizer.restore_orphans(self._monotonic())
        if self._decider.mode is Mode.ACT and observation.leader and not told_to_stop:
            advanced = self._edges.resizer.advance(readings, self._monotonic())
            outcomes += [self._take(outcome, reason=None) for outcome in advanced]
        for decision in plan.decisions:
            if decision.action is Action.HOLD or decision.target is None:
                continue
            started = self._monotonic()
            stale = started - observation.at > self._timing.fresh_seconds
            if stale or (stop is not None and stop.is_set()):
                break
            outcome = self._edges.resizer.resize(readings[decision.worker], decision.target, started)
            self._metrics.observe_action(self._monotonic() - started)
            outcomes.append(self._take(outcome, reason=decision.reason))
        return tuple(outcomes)

    def _take(self, outcome: Outcome, *, reason: Reason | None) -> Outcome:
        """Remember an action as outstanding, and tell of it."""
        sent_at = outcome.settles_at or self._monotonic()
        done = outcome.result is Result.DONE
        self._state = self._state.acted(outcome.worker, target=outcome.target, at=sent_at, confirmed=done)
        event = "pool.resized" if done else f"pool.resize_{outcome.result}"
        self._log.info(event, reason=reason, **outcome_fields(outcome))
        return outcome

    # Record

    def _record(self, record: TickRecord) -> None:
        self.last = record
        self._ticked_at = self._monotonic()
        self._metrics.record(record)
        self._tell(record)
        if record.faults.keys() & {"backlog"} or not record.observation.leader:
            return
        reasons = {decision.worker: str(decision.reason) for decision in record.plan.decisions}
        events = [
            {"at": record.wall_time, "reason": reasons.get(outcome.worker), **outcome_fields(outcome)}
            for outcome in record.outcomes
        ]
        try:
            contract.publish(
                self._edges.redis(),
                self._name,
                self.status(),
                self._clean(events),
                expiry_seconds=3 * self._timing.interval_seconds,
            )
        except FAULTS as fault:
            # Without the command, whose values make each tick's fault look new.
            what = str(fault).rpartition(" of pipeline caused error: ")[2]
            self._publish_fault = f"{type(fault).__name__}: {what}"
        else:
            self._publish_fault = None

    def _tell(self, record: TickRecord) -> None:
        """One line for each change of what is worth knowing, none for an idle tick."""
        found = conditions(record, self._decider.mode)
        if self._publish_fault is not None:
            found["publish", self._name] = self._publish_fault
        for subject in sorted(found.keys() | self._told.keys()):
            state = found.get(subject)
            if state == self._told.get(subject):
                continue
            kind, name = subject
            if state is None:
                self._log.info("condition.cleared", subject=kind, name=name)
            else:
                self._log.warning("condition", subject=kind, name=name, state=state)
        self._told = found
