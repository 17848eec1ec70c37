"""Observes: reads queues, workers, container, override and lease into one observation.

Each part fails alone: a sensor that fails makes its part unknown, and its fault is reported beside the
observation. Nothing here decides or sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from autoscaler.broker.overrides import OverrideError, OverrideRequest
from autoscaler.core.model import Observation, Override, QueueReading
from autoscaler.daemon.faults import FAULTS, described
from autoscaler.daemon.seen_queues import SeenQueues
from autoscaler.sensors.container import overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from autoscaler.core.groups import Scope
    from autoscaler.core.model import ContainerReading, Outcome, WorkerReading
    from autoscaler.sensors.queues import QueuesReading
    from autoscaler.sensors.workers import WorkersReading


class QueueSource(Protocol):
    """Reads queue depths and what else Redis knows."""

    def read(self, queues: Sequence[str], workers: Sequence[WorkerReading] = ()) -> QueuesReading:
        """One round trip, by the layouts that ``workers`` report."""


class WorkerSource(Protocol):
    """Reads the workers."""

    def read(self, mailboxes: frozenset[str], at: float) -> WorkersReading:
        """All that answer."""


class ContainerSource(Protocol):
    """Reads the container of the one worker of a sidecar."""

    def read(self) -> ContainerReading | None:
        """What is known of it."""


class Leadership(Protocol):
    """Decides who acts."""

    def hold(self) -> bool:
        """Whether this autoscaler acts."""

    def release(self) -> None:
        """Let another take over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What an observation is read from. ``lease`` and ``container`` are None where not needed.

    ``reset`` drops the connections to Redis after a failure.
    """

    backlog: QueueSource
    pools: WorkerSource
    reset: Callable[[], None]
    container: ContainerSource | None = None
    lease: Leadership | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One observation, and what a report says beside it; ``faults`` has the error of each failed sensor."""

    observation: Observation
    faults: Mapping[str, str]
    unresponsive: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    #: Whether the daemon was stopped before all was read: too little to report.
    interrupted: bool = False


@dataclass(slots=True)
class _Parts:
    """What one tick has read, as it comes in."""

    leader: bool
    queues: tuple[QueueReading, ...] = ()
    workers: WorkersReading | None = None
    override: Override = field(default_factory=Override)
    faults: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


class Observer:
    """Reads ``sources`` for one scope; remembers the mailboxes and the override that were read last.

    ``named_queues`` are read always; without a scope of queues, so are those that workers consume, and those
    that workers consumed lately.
    """

    def __init__(
        self,
        sources: Sources,
        scope: Scope,
        named_queues: frozenset[str] = frozenset(),
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._scope = scope
        self._named_queues = named_queues
        self._seen_queues = SeenQueues()
        self._monotonic = monotonic
        self._wall = wall
        self._mailboxes: frozenset[str] = frozenset()
        self._override = OverrideRequest()
        #: When Redis was last read, in monotonic seconds.
        self.read_at: float | None = None

    def observe(
        self,
        known: Iterable[WorkerReading],
        outcomes: tuple[Outcome, ...] = (),
        stopped: Callable[[], bool] = lambda: False,
    ) -> Seen:
        """One observation; ``known`` are the workers as last read, ``outcomes`` those of the last actions."""
        at = self._monotonic()
        parts = _Parts(leader=self._sources.lease is None, override=self._override.at(self._wall()))
        workers = list(known)
        queues = self._queues_to_read(workers)
        backlog = self._read("backlog", parts, lambda: self._sources.backlog.read(queues, workers))
        if backlog is None or stopped():
            parts.queues = tuple(QueueReading(name=name, waiting=None, error="not read") for name in queues)
            parts.interrupted = backlog is not None
            self._sources.reset()
        else:
            self._take_backlog(parts, backlog)
            self._read_rest(parts, queues, at, stopped)
            self._seen_queues.note(_shared(parts.workers.workers if parts.workers else ()), parts.queues, at)
        observation = Observation(
            at=at,
            queues=parts.queues,
            workers=self._with_container(parts),
            override=parts.override,
            leader=parts.leader,
            outcomes=outcomes,
        )
        return Seen(
            observation=observation,
            faults=parts.faults,
            unresponsive=parts.workers.unresponsive if parts.workers else (),
            left=parts.workers.left if parts.workers else (),
            duplicates=parts.workers.duplicates if parts.workers else (),
            unregistered=parts.workers.unregistered if parts.workers else (),
            unreadable=parts.workers.unreadable if parts.workers else {},
            interrupted=parts.interrupted,
        )

    def _read_rest(
        self, parts: _Parts, queues: Sequence[str], at: float, stopped: Callable[[], bool]
    ) -> None:
        """The workers, the lease, and the queues that only the workers know of."""
        parts.workers = self._read("pool", parts, lambda: self._sources.pools.read(self._mailboxes, at))
        if self._sources.lease is not None and stopped():
            parts.interrupted = True
        elif self._sources.lease is not None:
            parts.leader = bool(self._read("lease", parts, self._sources.lease.hold))
        if parts.workers is not None and not self._scope.queues:
            workers = parts.workers.workers
            again = sorted({*queues, *_consumed(workers)})
            if len(again) > len(queues):
                backlog = self._read("backlog", parts, lambda: self._sources.backlog.read(again, workers))
                parts.queues = backlog.queues if backlog else parts.queues

    def _queues_to_read(self, workers: Sequence[WorkerReading]) -> list[str]:
        if self._scope.queues:
            return sorted(self._named_queues | self._scope.queues)
        return sorted(self._named_queues | _consumed(workers) | self._seen_queues.names)

    def _take_backlog(self, parts: _Parts, backlog: QueuesReading) -> None:
        self.read_at = self._monotonic()
        parts.queues = backlog.queues
        parts.faults |= backlog.faults
        if "mailboxes" not in backlog.faults:
            self._mailboxes = backlog.mailboxes
        try:
            # The last valid override stays in force: a mistake in it must not undo a pause.
            if "override" not in backlog.faults:
                text = backlog.override
                self._override = OverrideRequest() if text is None else OverrideRequest.from_json(text)
        except OverrideError as fault:
            parts.faults["override"] = str(fault)
        parts.override = self._override.at(self._wall())

    def _with_container(self, parts: _Parts) -> tuple[WorkerReading, ...]:
        """The workers; the container of those in scope is what the daemon reads itself, where it can."""
        workers = parts.workers.workers if parts.workers else ()
        if self._sources.container is None:
            return workers
        container = self._read("container", parts, self._sources.container.read)
        return tuple(
            reading._replace(container=overlay(container, reading.container))
            if self._scope.may_touch(reading.name)
            else reading
            for reading in workers
        )

    def _read(self, sensor: str, parts: _Parts, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except FAULTS as fault:
            parts.faults[sensor] = described(fault)
            return None


def _consumed(workers: Iterable[WorkerReading]) -> set[str]:
    return {queue for reading in workers for queue in reading.queues}


def _shared(workers: Iterable[WorkerReading]) -> set[str]:
    """The queues consumed, without those that end with their worker (broadcast, direct)."""
    return {
        queue
        for reading in workers
        for queue in reading.queues
        if reading.layout is None or queue not in reading.layout.private_queues
    }
