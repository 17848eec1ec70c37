"""What the decider remembers from tick to tick, and how one observation changes what is known of workers.

Pure and frozen: each tick makes a new state. A fresh state behaves as if it had just acted, so a daemon that
was killed and started again does nothing rash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.capacity import with_rates
from autoscaler.core.demand.completions import Completions
from autoscaler.core.demand.learning import TargetWaitState
from autoscaler.core.demand.passing import Fetched
from autoscaler.core.demand.reach import Reach
from autoscaler.core.demand.starts import Starts
from autoscaler.core.demand.thresholds import Watch
from autoscaler.core.model import Result
from autoscaler.core.rivals import NONE, remember_rivals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.core.memory import MemoryRecord
    from autoscaler.core.model import Observation, Outcome, WorkerReading
    from autoscaler.core.peers import Expected
    from autoscaler.core.policy import Policy
    from autoscaler.core.rivals import Rival

#: A worker that goes on refusing is tried again ever less often, at last so seldom.
_MAX_REFUSAL_PAUSE_SECONDS = 300.0
#: How long a group that is not there keeps its memory: longer than a deployment or an outage takes.
_FORGET_GROUP_SECONDS = 3600.0
_MAX_ABSENT_GROUPS = 100
#: More running tasks than so many for each process, and so many beside, are a fault of the report: a pool
#: that was shrunk runs those of before, one with greenlets may have some more.
_MAX_BUSY_FACTOR = 4
_MAX_BUSY_SPARE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """An action that was sent and has not shown in the worker's size yet.

    ``confirmed`` is True where the worker answered that it did it; without an answer it is unknown.
    """

    target: int
    sent_at: float
    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A resize that the worker refused: none is sent to it until then, and the pause doubles each time."""

    until: float
    pause_seconds: float


class KnownWorker(NamedTuple):
    """A worker's last reading, when it was taken, what is under way, and who else resizes it."""

    reading: WorkerReading
    read_at: float
    outstanding: Outstanding | None = None
    refusal: Refusal | None = None
    rivals: Mapping[str, Rival] = MappingProxyType({})

    @property
    def size(self) -> int | None:
        """Processes it has or, where an action is under way, is about to have."""
        return self.outstanding.target if self.outstanding else self.reading.processes


class GroupState(NamedTuple):
    """What is remembered of workers that share queues.

    ``window`` is the stabilization window as (at, processes) with falling sizes: an older, smaller
    recommendation can never be the largest of a window again. ``changed_at`` is when a change of size was
    last observed, ``seen_at`` when the group was first seen and ``last_at`` when last. ``target_wait`` is
    what the target wait has learnt, from ``completions`` among others; it learns whether or not it decides.
    ``stalled_since`` is since when tasks wait while none runs and none ends,
    ``ended_at`` when a task was last seen to have ended, ``fetched`` what became of fetched messages,
    ``reach`` whether the target wait can be kept within the bounds, ``starts`` how long growths took.
    """

    changed_at: float
    seen_at: float
    last_at: float
    watch: Watch = Watch()
    window: tuple[tuple[float, int], ...] = ()
    target_wait: TargetWaitState = TargetWaitState()
    completions: Completions = Completions()
    fetched: Fetched = Fetched()
    reach: Reach = Reach()
    starts: Starts = Starts()
    stalled_since: float | None = None
    ended_at: float | None = None

    def stalled_seconds(self, at: float) -> float:
        """For how long tasks have waited while none runs and none ends."""
        return 0.0 if self.stalled_since is None else at - self.stalled_since


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is remembered; ``State()`` is a fresh start. Only the decider makes another.

    ``memory`` is by the worker's name and outlasts a restart of the worker. ``peers`` is what is expected of
    workers that another autoscaler resizes, by their names.
    """

    workers: Mapping[str, KnownWorker] = field(default_factory=dict)
    groups: Mapping[tuple[str, ...], GroupState] = field(default_factory=dict)
    memory: Mapping[str, MemoryRecord] = field(default_factory=dict)
    peers: Mapping[str, Expected] = field(default_factory=dict)


def recall(
    before: Mapping[tuple[str, ...], GroupState], present: Mapping[tuple[str, ...], bool], at: float
) -> dict[tuple[str, ...], GroupState]:
    """The memories of the groups that are ``present`` at ``at``; by key, whether a member's size changed.

    Where workers with other queues have joined a group or left it, it is another one: that goes on with what
    was learnt of the work of one that is gone.
    """
    gone = {key: memory for key, memory in before.items() if key[0] and key not in present}
    newest = max((memory.last_at for memory in gone.values()), default=-math.inf)
    recalled = {}
    for key, changed in present.items():
        memory = before.get(key)
        if memory is None or memory.last_at < newest:
            memory = _newest_kin(key, memory, gone) or GroupState(changed_at=at, seen_at=at, last_at=at)
        recalled[key] = memory._replace(last_at=at, changed_at=at if changed else memory.changed_at)
    return recalled


def _newest_kin(
    key: tuple[str, ...], own: GroupState | None, gone: Mapping[tuple[str, ...], GroupState]
) -> GroupState | None:
    """What is remembered of a group or, where that is newer, of one that is gone and had queues of it."""
    found = own
    for other, memory in sorted(gone.items()):
        newer = found is None or memory.last_at > found.last_at
        if newer and not set(key).isdisjoint(other):
            found = memory._replace(watch=Watch(), window=(), reach=Reach(), stalled_since=None)
    return found


def absent(
    before: Mapping[tuple[str, ...], GroupState], present: Iterable[tuple[str, ...]], at: float
) -> dict[tuple[str, ...], GroupState]:
    """The memories to keep of groups that are not there: those of queues, for a while, the newest first.

    Workers that do not answer for a time, or that are all replaced at once, find what was learnt of their
    work.
    """
    kept = {
        key: memory
        for key, memory in before.items()
        if key[0] and at - memory.last_at <= _FORGET_GROUP_SECONDS
    }
    for key in present:
        kept.pop(key, None)
    newest = sorted(kept, key=lambda key: kept[key].last_at, reverse=True)[:_MAX_ABSENT_GROUPS]
    return {key: kept[key] for key in newest}


def remember(
    policy: Policy, known: Mapping[str, KnownWorker], observation: Observation
) -> tuple[dict[str, KnownWorker], frozenset[str]]:
    """The workers known after this observation, and those whose size changed, that are new or restarted.

    The outcomes of the last tick's actions come first, then what was read. A worker that does not answer
    stays with its last reading for ``stale_after_seconds``, then it is forgotten.
    """
    at = observation.at
    acted = dict(known)
    for outcome in observation.outcomes:
        if outcome.worker in acted:
            acted[outcome.worker] = _after(policy, acted[outcome.worker], outcome, at)
    workers = {
        name: worker for name, worker in acted.items() if at - worker.read_at <= policy.stale_after_seconds
    }
    changed = set()
    for reading in map(_plausible, observation.workers):
        before = acted.get(reading.name)
        if before is None or _differs(before.reading, reading):
            changed.add(reading.name)
        workers[reading.name] = _follow(policy, before, reading, at)
    return workers, frozenset(changed)


def _after(policy: Policy, worker: KnownWorker, outcome: Outcome, at: float) -> KnownWorker:
    """The worker with what came of an action that was sent to it."""
    sent_at = at if outcome.sent_at is None else outcome.sent_at
    if outcome.result is Result.REFUSED:
        # Nothing is under way: the worker has the size that it reports.
        before = worker.refusal
        pause = min(
            _MAX_REFUSAL_PAUSE_SECONDS, policy.settle_seconds if before is None else 2 * before.pause_seconds
        )
        refusal = Refusal(until=sent_at + pause, pause_seconds=pause)
        return worker._replace(outstanding=None, refusal=refusal)
    outstanding = Outstanding(
        target=outcome.target,
        sent_at=sent_at if outcome.settles_at is None else outcome.settles_at,
        confirmed=outcome.result is Result.DONE,
    )
    return worker._replace(outstanding=outstanding, refusal=None if outstanding.confirmed else worker.refusal)


def _differs(before: WorkerReading, now: WorkerReading) -> bool:
    return before.processes != now.processes or _restarted(before, now)


def _restarted(before: WorkerReading, now: WorkerReading) -> bool:
    # In a container the pid is often 1 before and after, so the uptime decides.
    if before.uptime_seconds is None or now.uptime_seconds is None:
        return False
    return now.uptime_seconds < before.uptime_seconds


def _plausible(reading: WorkerReading) -> WorkerReading:
    """The reading; a count of running tasks that the worker has by far no processes for is not known."""
    if reading.busy is None or reading.processes is None:
        return reading
    room = reading.processes + reading.retiring
    return (
        reading._replace(busy=None) if reading.busy > _MAX_BUSY_FACTOR * room + _MAX_BUSY_SPARE else reading
    )


def _follow(policy: Policy, before: KnownWorker | None, reading: WorkerReading, at: float) -> KnownWorker:
    if before is None:
        return KnownWorker(reading=reading, read_at=at, rivals=remember_rivals(NONE, reading, at))
    container = with_rates(before.reading.container, reading.container, at - before.read_at)
    # A worker whose queues are not known this time still belongs to those who share them.
    queues = reading.queues if reading.queues_known else before.reading.queues
    if container is not reading.container or queues != reading.queues:
        reading = reading.known_by(queues, container)
    outstanding, refusal = before.outstanding, before.refusal
    if outstanding and _settled(policy, outstanding, before.reading, reading, at):
        outstanding = None
    if refusal and _differs(before.reading, reading):
        refusal = None
    return KnownWorker(reading, at, outstanding, refusal, remember_rivals(before.rivals, reading, at))


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
