"""How many more tasks may start now, by the room that is left below the memory limit.

What belongs here: the arithmetic of that room and what is remembered for it. What may never enter: Celery and
its pools (:mod:`.prefork` asks and obeys), and a size: nothing here grows or shrinks a pool. Standard library
only, Python 3.9.

The autoscaler's daemon looks every few seconds, and a machine runs out of memory in less. So the worker
itself holds tasks back:

* Until a first task has ended nothing is known of what they need: one starts, half a second later there are
  two, then four.
* A task starts only while one more process has room at the largest peak that was seen and the others at what
  is usual for processes that have ended a task. One task may run in any case, or nothing would ever be done.
* After a kill by the OOM killer none starts until those that ran at that moment have ended, or ten seconds
  have passed: only then is it known what they need. For ten minutes from then on each process is taken to
  grow to the largest peak.

A container with much room costs the read of one small file, every 20 ms at most.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from .cgroup import find_memory_group
from .process_memory import look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .cgroup import MemoryGroup
    from .process_memory import Process

#: Share of the limit that may be filled.
_FULL = 0.95
#: Below this share, with every process at its largest peak, nothing needs a closer look.
_ROOMY = 0.5
#: Seconds that a decision holds, at least and at most, and that a group holds as the one whose limit counts.
_DECISION_SECONDS = 0.02
_MAX_DECISION_SECONDS = 0.25
_GROUP_SECONDS = 30.0
#: A closer look may take this share of the time, and more only where a decision would else hold for longer.
_MAX_SHARE = 0.02
#: Processes that are looked at in one decision, besides the idle ones that may be given a task.
_LOOKS = 8
_IDLE_LOOKS = 2
#: Seconds in which the number of running tasks may double until a first one has ended.
_TRY_SECONDS = 0.5
#: How long a kill keeps tasks from starting at most, and how long it makes careful.
_CLOSED_SECONDS = 10.0
_CAREFUL_SECONDS = 600.0
#: How long a peak counts after it was last reached, and at what share of it it counts as reached again.
_HOLD_PEAK_SECONDS = 3600.0
_REACHED = 0.9


class _Seen(NamedTuple):
    """A process as it was when it was last looked at, in bytes.

    ``highest`` is the kernel's peak, which it never forgets, and ``peak`` that of the last hour, last reached
    at ``reached_at``.
    """

    resident: int
    highest: int
    peak: int
    reached_at: float


class MemoryGate:
    """One worker's room for further tasks; times are monotonic seconds.

    ``collected`` is the highest peak of all children that have ended, in bytes.
    """

    def __init__(
        self,
        collected: Callable[[], int],
        find_group: Callable[[], MemoryGroup | None] = find_memory_group,
        look_at: Callable[[int], Process | None] = look,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collected = collected
        self._find_group = find_group
        self._look_at = look_at
        self._now = now
        self._group: MemoryGroup | None = None
        self._group_at = -math.inf
        self._seen: dict[int, _Seen] = {}
        self._turn = 0
        self._largest = 0
        self._largest_at = -math.inf
        self._collected_before = 0
        self._kills: int | None = None
        self._killed_at = -math.inf
        self._closed = False
        self._decide_at = -math.inf
        self._room: int | None = None
        self._busy_then: frozenset[int] = frozenset()
        self._decided_for = 0
        self._busy_before: frozenset[int] = frozenset()
        self._ended_one: set[int] = set()  # those of the processes that have ended a task
        self._tried = False
        self._first_at: float | None = None

    @property
    def closed(self) -> bool:
        """Whether no task may start, because a kill has just happened."""
        return self._closed

    def notice_kills(self) -> bool:
        """Look whether the OOM killer has ended a process since the last look, and close where it has."""
        group = self._find()
        count = None if group is None else group.read_oom_kills()
        before, self._kills = self._kills, count
        if count is None or before is None or count <= before:
            return False
        self._killed_at = self._now()
        self._closed = True
        self._room, self._decide_at = 0, -math.inf
        return True

    def is_roomy(self, processes: int) -> bool:
        """Whether so many processes have room without a closer look."""
        now = self._now()
        if self._closed or self._room is not None or not self._tried:
            return self._find() is None
        if now < self._decide_at and processes <= self._decided_for:
            return True
        group = self._find()
        if group is None:
            self._decide_at, self._decided_for = now + _GROUP_SECONDS, sys.maxsize
            return True
        charged = group.read_charged_bytes()
        if charged is None or not self._largest:
            return charged is None
        if charged + processes * self._largest > _ROOMY * group.limit_bytes:
            return False
        self._decide_at, self._decided_for = now + _DECISION_SECONDS, processes
        return True

    def room(self, busy: Iterable[int], idle: Sequence[int], starting: int = 0) -> int | None:
        """How many of the ``idle`` processes may be given a task; None where all may, again and again.

        ``busy`` are those that hold one, retiring ones too; both are process ids. ``starting`` counts the
        processes that are not up yet.
        """
        running = frozenset(busy)
        now = self._now()
        if self._stays_closed(running):
            return 0
        # In every call: a short task is over before the next decision.
        self._ended_one |= self._busy_before.intersection(idle)
        # One that held a task and does not any more has ended one: it is idle, or gone with its task.
        self._tried = self._tried or not self._busy_before <= running
        self._busy_before = running
        # A decision that all may start says nothing of a process that has come since.
        holds = self._room is not None or len(running) + len(idle) <= self._decided_for
        if now < self._decide_at and holds:
            started = len(running - self._busy_then)
            return None if self._room is None else max(0 if running else 1, self._room - started)
        self._room = self._decide(running, idle, starting)
        self._busy_then, self._decided_for = running, len(running) + len(idle)
        took = self._now() - now
        self._decide_at = now + min(max(_DECISION_SECONDS, took / _MAX_SHARE), _MAX_DECISION_SECONDS)
        return self._room

    def _decide(self, running: frozenset[int], idle: Sequence[int], starting: int) -> int | None:
        group = self._find()
        used = None if group is None else group.read_held_bytes()
        if group is None or used is None:
            return None
        if self.notice_kills() and self._stays_closed(running):
            return 0
        more = self._fitting(int(_FULL * group.limit_bytes) - used, running, idle, starting)
        return more if self._tried else self._trying(more, len(running))

    def _stays_closed(self, running: frozenset[int]) -> bool:
        self._closed = self._closed and bool(running) and self._now() - self._killed_at < _CLOSED_SECONDS
        return self._closed

    def _trying(self, more: int | None, running: int) -> int:
        """The same while no task has ended yet: twice as many as half a second ago."""
        now = self._now()
        if self._first_at is None:
            self._first_at = now
        steps = min(20, int((now - self._first_at) / _TRY_SECONDS))
        allowed = max(0, (1 << steps) - running)
        return allowed if more is None else min(more, allowed)

    def _fitting(
        self, unused: int, running: frozenset[int], idle: Sequence[int], starting: int
    ) -> int | None:
        self._look(running, idle)
        if not self._seen:
            return None
        largest = self._hold_largest()
        usual = largest if self._now() - self._killed_at < _CAREFUL_SECONDS else self._usual(largest)
        base = min(one.resident for one in self._seen.values())
        held = (self._seen[pid].resident if pid in self._seen else base for pid in running)
        growing = sum(max(0, usual - resident) for resident in held)
        free = unused - growing - starting * base
        each, first = max(1, usual - base), max(1, largest - base)
        if free >= first + each * (len(idle) - 1):
            return None
        more = 0 if free < first else 1 + (free - first) // each
        return more if running else max(1, more)

    def _usual(self, largest: int) -> int:
        """The peak of all but a few of those that have ended a task, and of those that are larger already.

        Another process that has ended none tells nothing: its task may have begun just now.
        """
        ended = [one.peak for pid, one in self._seen.items() if pid in self._ended_one]
        if not ended:
            return largest
        usual = _percentile_95(ended)
        larger = [
            one.peak for pid, one in self._seen.items() if one.peak > usual and pid not in self._ended_one
        ]
        return _percentile_95(ended + larger)

    def _find(self) -> MemoryGroup | None:
        now = self._now()
        if now - self._group_at >= _GROUP_SECONDS:
            self._group_at = now
            before, self._group = self._group, self._find_group()
            if self._group is None or before is None or before.folder != self._group.folder:
                self._kills = None if self._group is None else self._group.read_oom_kills()
        return self._group

    def _look(self, running: frozenset[int], idle: Sequence[int]) -> None:
        present = running.union(idle)
        self._seen = {pid: one for pid, one in self._seen.items() if pid in present}
        self._ended_one &= present
        unseen = [pid for pid in present if pid not in self._seen]
        ordered = sorted(running)
        self._turn = (self._turn + _LOOKS) % max(1, len(ordered))
        in_turn = ordered[self._turn :] + ordered[: self._turn]
        for pid in {*(unseen + in_turn)[:_LOOKS], *idle[:_IDLE_LOOKS]}:
            found = self._look_at(pid)
            if found is not None:
                self._seen[pid] = _followed(self._seen.get(pid), found, self._now())

    def _hold_largest(self) -> int:
        """The largest peak of the last hour: of the living, and of one that has ended since the last look."""
        now = self._now()
        collected = self._collected()
        ended = collected if collected > self._collected_before else 0
        self._collected_before = collected
        peak, reached_at = max([(ended, now), *((one.peak, one.reached_at) for one in self._seen.values())])
        if peak >= self._largest or now - self._largest_at > _HOLD_PEAK_SECONDS:
            self._largest, self._largest_at = peak, reached_at
        return self._largest


def _percentile_95(sizes: Sequence[int]) -> int:
    return sorted(sizes)[math.ceil(0.95 * len(sizes)) - 1]


def _followed(before: _Seen | None, found: Process, at: float) -> _Seen:
    """A process after a look at it; a peak is dropped an hour after it was last reached."""
    resident, highest = found.resident, found.peak
    if before is None or highest > before.highest:
        return _Seen(resident, highest, highest, at)
    if resident >= _REACHED * before.peak:
        return _Seen(resident, highest, max(resident, before.peak), at)
    if at - before.reached_at > _HOLD_PEAK_SECONDS:
        return _Seen(resident, highest, resident, at)
    return before._replace(resident=resident)
