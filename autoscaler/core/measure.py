"""How much work there is for a group of workers, from what was read of its queues and its members.

Pure. What could not be read makes the work incomplete, and never counts as 0 tasks that are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.core.blockage import waits_for_eta
from autoscaler.core.demand.fleet import fleet_of
from autoscaler.core.demand.signal import Signal
from autoscaler.core.demand.work import Work
from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.core.demand.completions import Completions
    from autoscaler.core.demand.fleet import Fleet
    from autoscaler.core.groups import Group
    from autoscaler.core.model import QueueReading, WorkerReading
    from autoscaler.core.state import KnownWorker

#: A stock pool starts what `pool_grow` asks for when it next looks after its children, every 5 s, and it does
#: not report how long that took.
STOCK_START_SECONDS = 5.0


def measure(
    group: Group, members: Sequence[KnownWorker], queues: Mapping[str, QueueReading], at: float
) -> Work:
    """The group's work; ``queues`` are by name.

    Messages that are not fetched because the workers hold as many for their ETA as they may are left out.
    A worker that did not answer in this tick counts as it was last seen, and makes the work incomplete.
    """
    waiting = [queues[name].waiting if name in queues else None for name in group.queues]
    reserved = running = processes = 0
    in_full = True
    for member in members:
        reading = member.reading
        in_full = in_full and _answered_in_full(member, at)
        reserved += reading.reserved or 0
        processes += reading.processes or 0
        # A retiring process does its own task; that task asks for no other process.
        if reading.busy:
            running += max(0, reading.busy - reading.retiring)
    unknown = None if in_full else Reason.PEER_UNRESPONSIVE
    return Work(
        waiting=0
        if waits_for_eta([member.reading for member in members])
        else sum([depth or 0 for depth in waiting]),
        reserved=reserved,
        running=running,
        processes=processes,
        unknown=Reason.STALE if None in waiting else unknown,
        readable=not waiting or any(depth is not None for depth in waiting),
    )


def _answered_in_full(member: KnownWorker, at: float) -> bool:
    reading = member.reading
    counts = (reading.processes, reading.busy, reading.reserved)
    return member.read_at == at and reading.queues_known and None not in counts


def fleet(
    group: Group,
    members: Sequence[KnownWorker],
    queues: Mapping[str, QueueReading],
    work: Work,
    target_of: Callable[[str], float],
) -> Fleet | None:
    """The group as workers and channels; None where one worker has one target: nothing is to be routed.

    ``target_of`` gives each queue's target wait, in seconds.
    """
    if len(members) == 1 and len(set(map(target_of, group.queues))) <= 1:
        return None
    return fleet_of(
        [member.reading for member in members],
        [member.size or 0 for member in members],
        group.queues,
        queues,
        target_of,
        share_run=1 - work.passing / work.waiting if work.waiting else 0.0,
    )


def waiting_for(reading: WorkerReading, queues: Mapping[str, QueueReading]) -> int | None:
    """The messages that wait in the queues that a worker consumes; None where one of them is unknown.

    ``queues`` are by name; one that is not there was not looked at.
    """
    depths = [queues[name].waiting for name in reading.queues if name in queues]
    return None if None in depths else sum(depth or 0 for depth in depths)


def signal(
    at: float,
    members: Sequence[KnownWorker],
    queues: Sequence[QueueReading],
    work: Work,
    completions: Completions | None,
    *,
    start_seconds: float | None,
) -> Signal:
    """What the target wait sees and learns from; ``completions`` is the group's count.

    ``start_seconds`` is what its workers reported.
    """
    readings = [member.reading for member in members]
    if not all(reading.companion for reading in readings):
        start_seconds = max(start_seconds or 0.0, STOCK_START_SECONDS)
    ages = [queue.oldest_age_seconds for queue in queues if queue.oldest_age_seconds is not None]
    return Signal(
        at=at,
        waiting=work.waiting,
        busy=sum([reading.busy or 0 for reading in readings]),
        reserved=work.reserved,
        processes=work.processes,
        completed=completions.total if completions else None,
        oldest_age_seconds=max(ages, default=None),
        start_seconds=start_seconds,
        continuous=completions is None or completions.continuous,
        passing=work.passing,
        complete=work.complete,
    )
