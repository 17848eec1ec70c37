"""Messages that pass through a worker and need no process: revoked, expired, or waiting for their ETA.

Pure. A worker throws the first two away and keeps the others in its timer, as fast as it fetches, so that
thousands of them are no backlog. How many of those that wait are of that kind is estimated by what became of
those that were fetched since the last signal. A task whose ETA has come counts as fetched, and not as passed.
A worker that holds as many messages as it may fetch lets nothing pass, and what waits for it counts in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.demand.completions import Completions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.core.model import QueueReading, WorkerReading


class Fetched(NamedTuple):
    """What became of the messages that a group's workers have fetched.

    ``passed`` counts those that needed no process and ``kept`` all others. ``share`` of those that were
    fetched last have passed, from 0 to 1. ``waited`` is whether messages waited at all, ``passing`` whether
    some have passed since the signal before.
    """

    passed: Completions = Completions()
    kept: Completions = Completions()
    share: float = 0.0
    waited: bool = False
    passing: bool = False


def follow(
    before: Fetched, readings: Sequence[WorkerReading], queues: Mapping[str, QueueReading]
) -> tuple[Fetched, int]:
    """What is known after these readings, and how many of the waiting messages will need no process.

    That is 0 where the workers do not report what they throw away and keep in their timer.
    """
    passed = before.passed.add(readings, _passed, may_fall=True)
    kept = before.kept.add(readings, _kept, may_fall=True)
    if passed is None or kept is None:
        return Fetched(), 0
    more, others = passed.total - before.passed.total, kept.total - before.kept.total
    waits = any(queue.waiting for queue in queues.values())
    share = _share(before, more, others) if waits else 0.0
    after = Fetched(passed=passed, kept=kept, share=share, waited=waits, passing=more > 0)
    # A burst whose fetching has just begun has shown nothing yet: it is judged at the next signal.
    part = share if before.waited else 1.0
    return after, int(part * _open(readings, queues)) if part and waits else 0


def _share(before: Fetched, passed: int, kept: int) -> float:
    if not before.waited:  # what was fetched before anything waited says nothing of what waits
        return float(passed > 0)
    if not passed + kept:  # the machine is busy; nothing speaks against what was seen before
        return before.share
    return passed / (passed + kept)


def _open(readings: Sequence[WorkerReading], queues: Mapping[str, QueueReading]) -> int:
    """The messages that workers are free to fetch at this moment."""
    # A fleet has many workers and few sets of queues.
    open_sets = {reading.queues for reading in readings if _may_fetch(reading)}
    open_queues = {name for consumed in open_sets for name in consumed}
    return sum([queues[name].waiting or 0 for name in open_queues if name in queues])


def _may_fetch(reading: WorkerReading) -> bool:
    # The worker's report is of a moment after the depths were read: what it holds now it had room for then.
    if reading.prefetch is None or reading.consuming is False:
        return False
    in_hand = (reading.busy or 0) + (reading.reserved or 0)
    if (
        reading.layout is not None
        and reading.layout.prefetch_disabled
        and in_hand >= (reading.processes or 0)
    ):
        return False
    # Celery raises the limit by one for each task in the timer; 0 is unlimited.
    held = in_hand + (reading.rate_limited or 0) + (reading.scheduled or 0)
    return not reading.prefetch or held < reading.prefetch


def _passed(reading: WorkerReading) -> int | None:
    """All that it has thrown away, and what waits in its timer."""
    discarded, scheduled = reading.discarded, reading.scheduled
    return None if discarded is None or scheduled is None else discarded + scheduled


def _kept(reading: WorkerReading) -> int | None:
    """All that it has fetched for a process."""
    completed, busy, reserved = reading.completed, reading.busy, reading.reserved
    if completed is None or busy is None or reserved is None:
        return None
    return completed + busy + reserved + (reading.rate_limited or 0)
