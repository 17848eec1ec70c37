"""A pool of processes as discrete events: one queue, first come first served, one size that may change.

The law of this module: it knows no policy and no clock. Every size comes from a :class:`Scaler`, who sees
only what a daemon could see at that moment: counts, never a task's service time before it ends.

The model: a process works on one task at a time. A process that is asked for is ready ``start_seconds``
later and is paid for from the moment it is asked for. A retired process goes at once where it is
idle, else when its task ends or it is ready; a later growth takes such a process back first. That is how the
companion resizes.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.simulation.traces import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolModel:
    """What the pool can do: bounds and start delay.

    ``prefetch`` is how many messages a worker fetches ahead for each process; it moves messages from
    ``waiting`` to ``reserved`` in what is seen and starts no task earlier or later.
    """

    min_processes: int = 1
    max_processes: int = 64
    start_seconds: float = 1.0
    prefetch: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.min_processes <= self.max_processes:
            raise ValueError(
                f"a pool of {self.min_processes} to {self.max_processes} processes cannot be simulated;"
                " the minimum must be at least 1 and not above the maximum"
            )
        if not (math.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise ValueError(f"start_seconds is {self.start_seconds}; it is 0 or more seconds")
        if self.prefetch < 0:
            raise ValueError(f"prefetch is {self.prefetch}; it is 0 or more messages for each process")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """What can be seen of the pool at ``at`` seconds.

    ``size`` leaves retiring processes out and has those in that still start (``starting``). ``busy`` counts
    tasks that run, ``waiting`` those that no worker has fetched, ``reserved`` those fetched and not running,
    ``completed`` all that ended so far. ``oldest_age_seconds`` is the age of the oldest that waits unfetched.
    """

    at: float
    waiting: int
    reserved: int
    busy: int
    size: int
    starting: int
    completed: int
    oldest_age_seconds: float | None


class Scaler(Protocol):
    """One policy for one run: asked by time, and at each message if ``on_message``.

    ``interval_seconds`` is the time to the next decision; it is read after each one that came by time.
    """

    name: str
    interval_seconds: float
    on_message: bool
    initial_processes: int

    def desired(self, view: PoolView) -> int:
        """Return the desired size; the engine keeps it within the pool's bounds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What one policy made of one trace.

    ``waits_seconds`` has the time from arrival to start of each task, in order of arrival.
    ``process_seconds`` is paid from the moment a process is asked for until it is gone; ``starts`` counts the
    processes asked for after the first ones; ``changes`` the resizes. The timeline has one entry for each
    change seen at a decision and one for the end: seconds, waiting and reserved together, and size.
    """

    scaler: str
    waits_seconds: Sequence[float]
    work_seconds: float
    process_seconds: float
    starts: int
    changes: int
    peak_processes: int
    timeline: Sequence[tuple[float, int, int]]


class _Pool:
    """The moving parts. Times only grow; each event leaves no task waiting beside an idle process."""

    def __init__(self, model: PoolModel, trace: Trace, initial: int) -> None:
        self.model = model
        self.arrivals = trace.arrivals_seconds
        self.services = trace.services_seconds
        self.total = len(self.arrivals)
        self.waits = [0.0] * self.total
        self.arrived = 0
        self.started = 0
        self.completed = 0
        self.idle = initial
        self.ends: list[float] = []  # heap: when each running task ends
        self.readies: deque[float] = deque()  # when each starting process will be ready, ascending
        self.retiring = 0  # processes that go once they are free
        self.starts = 0
        self.changes = 0
        self.peak = initial
        self.process_seconds = 0.0  # of the processes that are gone, less the birth dates of those alive
        self.last_end = 0.0

    @property
    def size(self) -> int:
        return self.idle + len(self.ends) + len(self.readies) - self.retiring

    def advance_to(self, until: float, *, one_arrival: bool = False) -> bool:
        """Let everything up to ``until`` happen, or up to the next arrival; return whether that one came."""
        arrivals, ends, readies = self.arrivals, self.ends, self.readies
        while True:
            arrival = arrivals[self.arrived] if self.arrived < self.total else math.inf
            freed = ends[0] if ends else math.inf
            if readies and readies[0] < freed:
                freed = readies[0]
            if arrival < freed:
                if arrival > until:
                    return False
                self.arrived += 1
                if self.idle:
                    self.idle -= 1
                    self._start_next(arrival)
                if one_arrival:
                    return True
            else:
                if freed > until or freed == math.inf:
                    return False
                if readies and readies[0] == freed:
                    readies.popleft()
                else:
                    self.last_end = heapq.heappop(ends)
                    self.completed += 1
                self._free(freed)

    def _start_next(self, at: float) -> None:
        index = self.started
        self.waits[index] = at - self.arrivals[index]
        heapq.heappush(self.ends, at + self.services[index])
        self.started = index + 1

    def _free(self, at: float) -> None:
        if self.retiring:
            self.retiring -= 1
            self.process_seconds += at
        elif self.started < self.arrived:
            self._start_next(at)
        else:
            self.idle += 1

    def resize(self, at: float, wanted: int) -> None:
        """Make ``wanted`` the size, within the bounds."""
        wanted = max(self.model.min_processes, min(self.model.max_processes, wanted))
        more = wanted - self.size
        if not more:
            return
        self.changes += 1
        if more > 0:
            self._grow(at, more)
        else:
            gone = min(self.idle, -more)
            self.idle -= gone
            self.process_seconds += at * gone
            self.retiring += -more - gone

    def _grow(self, at: float, more: int) -> None:
        taken_back = min(more, self.retiring)
        self.retiring -= taken_back
        born = more - taken_back
        self.starts += born
        self.process_seconds -= at * born
        self.readies.extend([at + self.model.start_seconds] * born)
        alive = self.idle + len(self.ends) + len(self.readies)
        self.peak = max(self.peak, alive)

    def view(self, at: float) -> PoolView:
        """Return what can be seen now."""
        queued = self.arrived - self.started
        size = self.size
        reserved = min(queued, size * self.model.prefetch)
        oldest = at - self.arrivals[self.started + reserved] if queued > reserved else None
        return PoolView(
            at=at,
            waiting=queued - reserved,
            reserved=reserved,
            busy=len(self.ends),
            size=size,
            starting=len(self.readies),
            completed=self.completed,
            oldest_age_seconds=oldest,
        )


def simulate(trace: Trace, scaler: Scaler, model: PoolModel) -> ReplayResult:
    """Run ``trace`` through a pool sized by ``scaler``, up to the end of the trace and of its last task.

    A million tasks take seconds; the memory is a few numbers for each task.
    """
    initial = max(model.min_processes, min(model.max_processes, scaler.initial_processes))
    pool = _Pool(model, trace, initial)
    timeline: list[tuple[float, int, int]] = [(0.0, 0, initial)]
    due, looked = 0.0, False
    while True:
        if pool.advance_to(due, one_arrival=scaler.on_message):
            at = pool.arrivals[pool.arrived - 1]
        else:
            at, looked = due, True
        if pool.completed == pool.total and at >= trace.duration_seconds:
            break
        view = pool.view(at)
        pool.resize(at, scaler.desired(view))
        if looked:
            due, looked = at + scaler.interval_seconds, False
        point = (at, view.waiting + view.reserved, pool.size)
        if point[1:] != timeline[-1][1:]:
            timeline.append(point)
    end = max(pool.last_end, trace.duration_seconds)
    timeline.append((end, 0, pool.size))
    alive = pool.idle + len(pool.ends) + len(pool.readies)
    return ReplayResult(
        scaler=scaler.name,
        waits_seconds=pool.waits,
        work_seconds=math.fsum(trace.services_seconds),
        process_seconds=pool.process_seconds + end * alive,
        starts=pool.starts,
        changes=pool.changes,
        peak_processes=pool.peak,
        timeline=timeline,
    )
