"""Work that more processes would not run: it waits for its time, for its rate limit, or for a consumer.

Pure. Tasks that wait only for their ETA are no backlog at all. In the other cases the backlog is real and the
group does not grow for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.core.demand.completions import Completions
    from autoscaler.core.demand.work import Work
    from autoscaler.core.model import Recommendation, WorkerReading

#: How long tasks wait, no process is busy and no task ends before the workers count as not consuming.
STALLED_AFTER_SECONDS = 30.0


def fetches_no_more(reading: WorkerReading) -> bool:
    """Whether a worker holds as many tasks for their ETA as it may (``worker_eta_task_limit``).

    It fetches nothing then, whatever its size: Celery bounds the prefetch by that limit.
    """
    limit = reading.layout.eta_task_limit if reading.layout else None
    return bool(limit) and reading.scheduled is not None and reading.scheduled >= (limit or 0)


def waits_for_eta(readings: Sequence[WorkerReading]) -> bool:
    """Whether what is left in the queues waits only for the ETA of what was fetched."""
    return bool(readings) and all(map(fetches_no_more, readings))


def blocked_by(readings: Sequence[WorkerReading], work: Work, *, stalled_seconds: float) -> Reason | None:
    """Why more processes would not help with the backlog, None where they would.

    ``stalled_seconds`` is how long nothing has been running or ending beside a backlog.
    """
    if not work.waiting or not readings:
        return None
    if all(reading.consuming is False for reading in readings):
        return Reason.NOT_CONSUMING
    idle = all(
        reading.reserved == 0 and (reading.busy or 0) < (reading.processes or 0) for reading in readings
    )
    # Before the stall: at a rate of one a minute no task ends for as long either.
    if idle and any(reading.rate_limited for reading in readings):
        return Reason.RATE_LIMITED
    return Reason.NOT_CONSUMING if stalled_seconds >= STALLED_AFTER_SECONDS else None


def stalled_since(
    before: float | None, work: Work, last: Completions, now: Completions | None, at: float
) -> float | None:
    """Since when tasks wait while no task runs and none ends, None where that is not so or not known."""
    ended = now is None or not now.continuous or now.total != last.total
    if not work.waiting or work.running or work.reserved or ended:
        return None
    return at if before is None else before


def unless_blocked(demand: Recommendation, current_total: int, blocked: Reason | None) -> Recommendation:
    """The recommendation, or the current size where it would grow and that would not help."""
    if blocked is None or demand.processes <= current_total:
        return demand
    return demand._replace(processes=current_total, reason=blocked)
