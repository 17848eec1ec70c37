"""What a worker's processes need of memory, as learnt over time, and how many of them fit.

What belongs here: the record of one worker's memory, how a reading changes it, and the arithmetic of the
limit. What may never enter: any other bound (:mod:`.capacity`), and I/O.

A child's resident size says little: idle children are small. So the ceiling follows from peaks. The record
keeps the highest peaks of the last hour, over the death of children and over restarts of the worker. An OOM
kill, or hits of the limit under pressure, is a breach: the record then holds a ceiling below the size at that
moment, for ten minutes, twice as long each time; after that the ceiling rises by one process a minute, and as
long as peaks fit. From a breach on, every process is taken to need the largest peak, not the usual one.

Two more things teach. A worker that comes back in a new container after its memory was nearly used up was
most likely ended by the OOM killer itself, whose count went with the old container. And a worker of a new
name starts from what those with the same queues and the same limit have shown, gone ones too: pods get new
names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from autoscaler.core.model import ContainerReading, WorkerReading
    from autoscaler.core.policy import Policy

#: How long a peak counts after it was last the highest.
_HOLD_PEAK_SECONDS = 3600.0
#: How long a breach holds the size down at first, and at most.
_BREACH_SECONDS = 600.0
MAX_BREACH_SECONDS = 4 * 3600.0
#: After that the ceiling rises by one process in so many seconds.
_RISE_SECONDS = 60.0
#: A breach within this many times its hold is a repeated one.
_REPEAT_FACTOR = 6.0
#: A task that was seen running for so long shows what it needs.
_TRIED_SECONDS = 3.0
#: Share of time that processes wait for memory at which hits of the limit are a breach.
_PRESSURE = 0.1
#: How long the record of a worker that is gone is kept, and how many of those.
FORGET_SECONDS = 3600.0
_MAX_ABSENT = 1000
#: A process needs at least this share of its peak, however much of it looks shared.
_MIN_SHARE = 0.1


class Peaks(NamedTuple):
    """What processes held at their peak, in bytes, shared pages included: 95 % of them, and the largest.

    ``since`` and ``largest_since`` are when each of the two was last reached.
    """

    usual: int
    largest: int
    since: float
    largest_since: float

    @property
    def last_reached(self) -> float:
        """When one of the two was last reached."""
        return max(self.since, self.largest_since)


class Need(NamedTuple):
    """Bytes that one more process needs at its peak: usually, and the largest."""

    usual: int
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """The memory limit was exceeded: no more than ``ceiling`` processes ``until`` then.

    That is ``hold_seconds`` after it happened.
    """

    ceiling: int
    until: float
    hold_seconds: float

    def allowed(self, at: float) -> int:
        """The ceiling at ``at``."""
        return self.ceiling if at < self.until else self.ceiling + 1 + int((at - self.until) / _RISE_SECONDS)

    def remembered(self, at: float) -> bool:
        """Whether a breach at ``at`` would be a repeated one."""
        return at < self.until + _REPEAT_FACTOR * self.hold_seconds


class MemoryRecord(NamedTuple):
    """What is remembered of one worker's memory; times are monotonic seconds.

    ``shared_bytes`` is the part of a peak that a further process does not need. ``oom_kills`` and
    ``memory_failcnt`` are the counters as last read, of the group ``container_id``; ``kills`` counts those
    that happened while this record was kept, and before it where the worker was young; an earlier daemon has
    counted ``earlier_kills`` of them. ``tried`` is True once tasks have shown what they need, and
    ``running_since`` is since when tasks have been running before that. ``processes`` is how many there were
    when last read, retiring ones too. ``queues``, ``limit_bytes``, ``uptime_seconds`` and ``was_full`` are
    from the last reading; the last of them is whether memory was nearly used up. ``restored`` is whether an
    earlier daemon has left it and no reading has come since that says whose it is.
    """

    last_at: float
    peaks: Peaks | None = None
    shared_bytes: int = 0
    container_id: str | None = None
    oom_kills: int | None = None
    memory_failcnt: int | None = None
    kills: int = 0
    earlier_kills: int = 0
    processes: int = 1
    tried: bool = False
    running_since: float | None = None
    breach: Breach | None = None
    queues: tuple[str, ...] = ()
    limit_bytes: int | None = None
    uptime_seconds: float | None = None
    was_full: bool = False
    restored: bool = False


def remember_memory(
    policy: Policy, records: Mapping[str, MemoryRecord], readings: Sequence[WorkerReading], at: float
) -> dict[str, MemoryRecord]:
    """The records after the readings of this tick; those of workers that are gone are kept for an hour."""
    present = {}
    for one in readings:
        known = records.get(one.name)
        if known is not None and known.restored and _is_undecided(known, one, at):
            present[one.name] = known
            continue
        before = _of_same(known, one)
        record = advance(policy, before, one, at)
        present[one.name] = _inherit(record, records.values(), at) if before is None else record
    gone = [
        name
        for name, record in records.items()
        if name not in present and at - record.last_at <= FORGET_SECONDS
    ]
    gone.sort(key=lambda name: (-records[name].last_at, name))
    return present | {name: records[name] for name in gone[:_MAX_ABSENT]}


def _is_undecided(restored: MemoryRecord, reading: WorkerReading, at: float) -> bool:
    """Whether nobody can say yet that it is of this worker: its limit could not be read so far."""
    unread = reading.container is None or reading.container.memory_limit_bytes is None
    return unread and at - restored.last_at <= FORGET_SECONDS


def _of_same(before: MemoryRecord | None, reading: WorkerReading) -> MemoryRecord | None:
    """What is known of a worker; of what an earlier daemon has left only what fits the limit and the queues.

    Another deployment may have a worker of the same name.
    """
    if before is None or not before.restored:
        return before
    if reading.container is None or reading.container.memory_limit_bytes != before.limit_bytes:
        return None
    differs = reading.queues_known and reading.queues and reading.queues != before.queues
    return None if differs else before


def advance(policy: Policy, before: MemoryRecord | None, reading: WorkerReading, at: float) -> MemoryRecord:
    """The record of a worker after ``reading``."""
    known, container = before or MemoryRecord(last_at=at), reading.container
    running_since = None
    if reading.busy:
        running_since = at if known.running_since is None else known.running_since
    waited = running_since is not None and at - running_since >= _TRIED_SECONDS
    tried = known.tried or waited or bool(reading.completed) or reading.busy is None
    processes = known.processes
    if reading.processes is not None:
        processes = max(1, reading.processes + reading.retiring)
    queues = reading.queues if reading.queues_known and reading.queues else known.queues
    # By place: one is made for each worker in each tick, and by keywords it takes twice as long.
    if container is None:
        of_container, breach = known[1:8], known.breach
        limit, was_full = known.limit_bytes, known.was_full
    else:
        pressed = _is_pressed(policy, container)
        kills, breach = _exceeded(before, reading, container, at, processes=processes, pressed=pressed)
        shared = container.child_shared_bytes
        of_container = (
            _hold(known.peaks, _read_peaks(container, at), at),
            known.shared_bytes if shared is None else shared,
            container.container_id,
            container.oom_kills,
            container.memory_failcnt,
            kills,
            known.earlier_kills,
        )
        limit, was_full = container.memory_limit_bytes, pressed and container.memory_limited
    return MemoryRecord(
        at,
        *of_container,
        processes,
        tried,
        running_since,
        breach,
        queues,
        limit,
        reading.uptime_seconds,
        was_full,
    )


def _exceeded(
    before: MemoryRecord | None,
    reading: WorkerReading,
    container: ContainerReading,
    at: float,
    *,
    processes: int,
    pressed: bool,
) -> tuple[int, Breach | None]:
    """All kills so far, and the breach in force, with what has happened since the reading ``before``."""
    known = before or MemoryRecord(last_at=at)
    kills = hits = 0
    if known.container_id == container.container_id:
        kills = _growth(known.oom_kills, container.oom_kills)
        hits = _growth(known.memory_failcnt, container.memory_failcnt)
    breach = known.breach
    if _ended_full(known, reading):
        breach = _breached(breach, known.processes, at)
    elif kills or (hits and pressed):
        # After growth, the size before it is the one that is known to fit.
        breach = _breached(breach, max(known.processes, min(known.processes + 1, processes)), at)
    elif before is None:
        breach = _breach_before(reading, at)
        return (container.oom_kills or 0) if breach else 0, breach
    elif breach and not breach.remembered(at):
        breach = None
    return known.kills + kills, breach


def _growth(before: int | None, count: int | None) -> int:
    return 0 if before is None or count is None or count < before else count - before


def _is_pressed(policy: Policy, container: ContainerReading) -> bool:
    # File pages alone hit a limit all the time, and harm nothing.
    used = container.memory_usage_ratio or 0.0
    return (container.memory_pressure or 0.0) > _PRESSURE or used > policy.memory_high


def _ended_full(known: MemoryRecord, reading: WorkerReading) -> bool:
    """Whether the whole worker was ended with its memory nearly used up, and came back in another group."""
    container, uptime = reading.container, reading.uptime_seconds
    if not known.was_full or container is None or None in {known.container_id, container.container_id}:
        return False
    is_new = known.container_id != container.container_id
    return (
        is_new and uptime is not None and known.uptime_seconds is not None and uptime < known.uptime_seconds
    )


def _inherit(record: MemoryRecord, others: Iterable[MemoryRecord], at: float) -> MemoryRecord:
    """The record of a new worker with what others of the same queues and the same limit have learnt."""
    alike = [
        one
        for one in others
        if record.queues
        and (one.queues, one.limit_bytes) == (record.queues, record.limit_bytes)
        and at - one.last_at <= FORGET_SECONDS
    ]
    peaks = record.peaks
    for one in alike:
        if one.peaks is not None and at - one.peaks.last_reached <= _HOLD_PEAK_SECONDS:
            peaks = _hold(one.peaks, peaks, at)
    breaches = [one.breach for one in alike if one.breach is not None and at < one.breach.until]
    breach = min(breaches, key=lambda one: one.ceiling, default=record.breach)
    tried = record.tried or any(one.tried for one in alike)
    return record._replace(peaks=peaks, tried=tried, breach=record.breach or breach)


def _breached(before: Breach | None, size: int, at: float) -> Breach:
    if before is None or not before.remembered(at):
        hold, ceiling = _BREACH_SECONDS, size - 1
    elif at < before.until and size > before.ceiling:
        # The size is still on its way down to what the last breach has asked for.
        hold, ceiling = before.hold_seconds, before.ceiling
    else:
        hold, ceiling = min(MAX_BREACH_SECONDS, 2 * before.hold_seconds), min(size, before.allowed(at)) - 1
    return Breach(ceiling=max(1, ceiling), until=at + hold, hold_seconds=hold)


def _breach_before(reading: WorkerReading, at: float) -> Breach | None:
    """What a daemon that has just started knows of kills of a young worker: not to grow for now."""
    container, uptime = reading.container, reading.uptime_seconds
    if container is None or not container.oom_kills or uptime is None or uptime >= _BREACH_SECONDS:
        return None
    return Breach(
        ceiling=max(1, reading.processes or 1),
        until=at + _BREACH_SECONDS - uptime,
        hold_seconds=_BREACH_SECONDS,
    )


def percentile_95(values: Sequence[int]) -> int:
    """The value that 95 % do not exceed (nearest rank). ``values`` must not be empty."""
    ordered = sorted(values)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def _read_peaks(container: ContainerReading, at: float) -> Peaks | None:
    largest, usual = container.child_peak_bytes, container.child_peak_p95_bytes
    if largest or usual:
        usual = usual or largest or 0
        return Peaks(usual, max(usual, largest or 0), at, at)
    # An older companion knows resident sizes only: the highest of them is the nearest to a peak.
    sizes = [size for size in container.child_rss_bytes if size > 0]
    return Peaks(percentile_95(sizes), percentile_95(sizes), at, at) if sizes else None


def _hold(held: Peaks | None, now: Peaks | None, at: float) -> Peaks | None:
    """The higher of two peaks of each kind; what is held is dropped an hour after it was last reached."""
    if held is None or now is None:
        return held or now
    usual, largest, since, largest_since = held
    if now.usual >= usual or at - since > _HOLD_PEAK_SECONDS:
        usual, since = now.usual, now.since
    if now.largest >= largest or at - largest_since > _HOLD_PEAK_SECONDS:
        largest, largest_since = now.largest, now.largest_since
    if usual > largest:
        largest, largest_since = usual, since
    return Peaks(usual, largest, since, largest_since)


def need(policy: Policy, container: ContainerReading, record: MemoryRecord | None) -> Need | None:
    """What one process needs at its peak, None where nothing is known of it."""
    peaks = _read_peaks(container, 0.0) if record is None else record.peaks
    shared = (container.child_shared_bytes or 0) if record is None else record.shared_bytes
    stated = int(policy.memory_per_process_bytes or 0)
    if peaks is None:
        return Need(stated, stated) if stated else None
    usual, largest, _, _ = peaks
    largest = _own_part(largest, shared, stated)
    # Where processes were killed, their number is of those that need the most.
    if container.oom_kills or (record is not None and record.breach is not None):
        return Need(largest, largest)
    return Need(_own_part(usual, shared, stated), largest)


def _own_part(peak: int, shared: int, stated: int) -> int:
    """What of a peak a further process needs, at least what is ``stated``."""
    return max(peak - shared, int(peak * _MIN_SHARE), stated, 1)


def fitting(policy: Policy, container: ContainerReading, each: Need | None, *, size: int = 0) -> int | None:
    """Processes that fit in the memory limit at their peak, at least 1; None where that is not known.

    ``each`` is what a process needs. It is what fits below ``memory_headroom``. A worker that already has
    ``size`` processes keeps those that fit below ``memory_high``, so that a small change of a peak is no
    reason for a resize.
    """
    if container.memory_limit_bytes is None or each is None:
        return None
    fit = _fit(container, each, policy.memory_headroom)
    return size if fit < size <= _fit(container, each, policy.memory_high) else fit


def _fit(container: ContainerReading, each: Need, share: float) -> int:
    available = (container.memory_limit_bytes or 0) * share - (container.parent_rss_bytes or 0)
    usual, largest = each
    return 1 + int((available - largest) // usual) if available > largest else 1


def room(
    policy: Policy, container: ContainerReading, record: MemoryRecord | None, each: Need | None
) -> int | None:
    """How many more processes there is room for now, by what is in use; None where that is not known.

    ``each`` is what a process needs. None at all as long as no task has shown what it needs, where its
    companion reports peaks, and while processes wait for memory: file pages that are in use are free on paper
    only.
    """
    if container.memory_limited and (container.memory_pressure or 0.0) > _PRESSURE:
        return 0
    stated = policy.memory_per_process_bytes
    if record is not None and not record.tried and container.child_peak_bytes and not stated:
        return 0
    used = container.limited_use_bytes
    if each is None or used is None or container.memory_limit_bytes is None:
        return None
    free = container.memory_limit_bytes * policy.memory_headroom - used
    return 0 if free < each.largest else 1 + int((free - each.largest) // each.usual)
