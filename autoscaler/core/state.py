"""What the decider remembers from tick to tick.

Pure and frozen: each tick makes a new state. A fresh state behaves as if it had just acted, so a daemon that
was killed and started again does nothing rash.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoscaler.core.capacity import with_rates
from autoscaler.core.demand.target_wait import TargetWaitState
from autoscaler.core.demand.thresholds import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.model import Observation, WorkerReading
    from autoscaler.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """An action that was sent and has not shown in the worker's size yet.

    ``confirmed`` is True where the worker answered that it did it; without an answer it is unknown.
    """

    target: int
    sent_at: float
    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWorker:
    """A worker's last reading, when it was taken, and what is under way."""

    reading: WorkerReading
    read_at: float
    outstanding: Outstanding | None = None

    @property
    def size(self) -> int | None:
        """Processes it has or, where an action is under way, is about to have."""
        return self.outstanding.target if self.outstanding else self.reading.processes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """What is remembered of workers that share queues.

    ``wishes`` is the stabilization window as (at, processes) with falling sizes: an older, smaller wish can
    never be the highest of a window again. ``changed_at`` is when a change of size was last observed.
    ``seen_at`` is when the group was first seen. ``latency`` is what the latency demand has learnt; it
    learns whether or not it decides.
    """

    changed_at: float
    seen_at: float
    watch: Watch = field(default_factory=Watch)
    wishes: tuple[tuple[float, int], ...] = ()
    latency: TargetWaitState = field(default_factory=TargetWaitState)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is remembered; ``State()`` is a fresh start."""

    workers: Mapping[str, KnownWorker] = field(default_factory=dict)
    groups: Mapping[tuple[str, ...], GroupState] = field(default_factory=dict)

    def acted(self, worker: str, *, target: int, at: float, confirmed: bool) -> State:
        """The state after an action was sent to ``worker``."""
        known = self.workers.get(worker)
        if known is None:
            return self
        outstanding = Outstanding(target=target, sent_at=at, confirmed=confirmed)
        return replace(self, workers={**self.workers, worker: replace(known, outstanding=outstanding)})


def remember(
    policy: Policy, known: Mapping[str, KnownWorker], observation: Observation
) -> tuple[dict[str, KnownWorker], frozenset[str]]:
    """The workers known after this observation, and those whose size changed, that are new or restarted.

    A silent worker stays with its last reading for ``stale_after_seconds``, then it is forgotten.
    """
    at = observation.at
    workers = {
        name: worker for name, worker in known.items() if at - worker.read_at <= policy.stale_after_seconds
    }
    changed = set()
    for reading in observation.workers:
        before = known.get(reading.name)
        if before is None or _differs(before.reading, reading):
            changed.add(reading.name)
        workers[reading.name] = _follow(policy, before, reading, at)
    return workers, frozenset(changed)


def _differs(before: WorkerReading, now: WorkerReading) -> bool:
    return before.processes != now.processes or _restarted(before, now)


def _restarted(before: WorkerReading, now: WorkerReading) -> bool:
    # In a container the pid is often 1 before and after; uptime tells.
    if before.uptime_seconds is None or now.uptime_seconds is None:
        return False
    return now.uptime_seconds < before.uptime_seconds


def _follow(policy: Policy, before: KnownWorker | None, reading: WorkerReading, at: float) -> KnownWorker:
    if before is None:
        return KnownWorker(reading=reading, read_at=at)
    container = before.reading.container  # the last good one holds where none can be read
    if reading.container is not None:
        container = with_rates(container, reading.container, at - before.read_at)
    if container is not reading.container:
        reading = replace(reading, container=container)
    outstanding = before.outstanding
    if outstanding and _settled(policy, outstanding, before.reading, reading, at):
        outstanding = None
    return KnownWorker(reading=reading, read_at=at, outstanding=outstanding)


def _settled(
    policy: Policy, action: Outstanding, before: WorkerReading, reading: WorkerReading, at: float
) -> bool:
    if _restarted(before, reading):
        return True
    if reading.processes is None:
        return False
    # The companion's size is exact as soon as it has answered; a stock pool shows a change up to 5 s late.
    if reading.processes == action.target or (reading.companion and action.confirmed):
        return True
    return at - action.sent_at >= policy.settle_seconds
