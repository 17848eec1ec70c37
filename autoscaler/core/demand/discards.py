"""Messages that workers throw away as they fetch them, because they were revoked or have expired.

Pure. They need no process: a worker throws them away as fast as it fetches, so that thousands of them are no
backlog. How many of those that wait are of that kind is estimated by what became of those that were fetched
since the last signal. A worker that holds as many messages as it may fetch throws nothing away, and what
waits for it counts in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand.completions import Completions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.core.model import QueueReading, WorkerReading

#: So many have to be thrown away between two signals before those that wait are judged by them.
_MIN_SAMPLE = 20


class Fetched(NamedTuple):
    """What became of the messages that a group's workers have fetched.

    ``discarded`` counts those thrown away and ``kept`` all others. ``waited`` is whether messages waited at
    all, ``discarding`` whether some were thrown away since the signal before.
    """

    discarded: Completions = Completions()
    kept: Completions = Completions()
    waited: bool = False
    discarding: bool = False


def follow(
    before: Fetched, readings: Sequence[WorkerReading], queues: Mapping[str, QueueReading]
) -> tuple[Fetched, int]:
    """What is known after these readings, and how many of the waiting messages will be thrown away.

    That is 0 where the workers do not report what they throw away.
    """
    discarded = before.discarded.add(readings, lambda reading: reading.discarded)
    kept = before.kept.add(readings, _kept)
    if discarded is None or kept is None:
        return Fetched(), 0
    thrown = discarded.total - before.discarded.total
    passing = _passing(readings, queues)
    waits = any(queue.waiting for queue in queues.values())
    after = Fetched(discarded=discarded, kept=kept, waited=waits, discarding=thrown > 0)
    if thrown >= _MIN_SAMPLE:
        return after, passing * thrown // (thrown + kept.total - before.kept.total)
    # A burst whose fetching has just begun has shown nothing yet: it is judged at the next signal.
    return after, 0 if before.waited else passing


def _passing(readings: Sequence[WorkerReading], queues: Mapping[str, QueueReading]) -> int:
    """The messages that workers are free to fetch at this moment."""
    open_queues = {name for reading in readings if _may_fetch(reading) for name in reading.queues}
    return sum(queues[name].waiting or 0 for name in open_queues if name in queues)


def _may_fetch(reading: WorkerReading) -> bool:
    # The worker's report is of a moment after the depths were read: what it holds now it had room for then.
    # 0 is unlimited, and then nothing is known of what stops it.
    held = (_kept(reading) or 0) - (reading.completed or 0)
    return bool(reading.prefetch) and held < (reading.prefetch or 0) and reading.consuming is not False


def _kept(reading: WorkerReading) -> int | None:
    """All that it has fetched and not thrown away."""
    counts = (reading.completed, reading.busy, reading.reserved, reading.scheduled, reading.rate_limited or 0)
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
