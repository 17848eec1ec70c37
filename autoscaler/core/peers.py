"""Workers of another autoscaler that do not grow although this one counts on it.

Pure. Each autoscaler of a fleet of sidecars sizes its own worker, and counts on the others to take their
share of a growth. One that nobody resizes, or whose autoscaler has a lower maximum, never takes it: its tasks
would wait. So what does not grow for a minute counts with the size it has, and the others grow instead, until
its size changes or somebody resizes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from autoscaler.core.model import Decision, WorkerReading

#: How long a growth may take that another autoscaler decides: ticks, cooldowns and starts of processes.
PATIENCE_SECONDS = 60.0
#: How long it is remembered that a worker did not grow, once nothing more is asked of it.
_REMEMBER_SECONDS = 3600.0


class Expected(NamedTuple):
    """Growth from ``size`` that is counted on ``since`` then, and was last at ``asked_at``.

    All times are monotonic seconds.
    """

    size: int
    since: float
    asked_at: float


def follow(
    known: Mapping[str, Expected],
    decisions: Collection[Decision],
    readings: Iterable[WorkerReading],
    at: float,
) -> dict[str, Expected]:
    """What is expected of the workers that another autoscaler resizes; ``decisions`` are those for them."""
    if not decisions:
        return {}
    found, answered = {}, {reading.name: reading for reading in readings}
    for decision in decisions:
        name, size = decision.worker, decision.current
        before = known.get(name)
        if size is None:
            if before is not None:  # it did not answer, which tells nothing
                found[name] = before
            continue
        if before is not None and (before.size != size or _was_resized(answered[name], at - before.since)):
            before = None
        if decision.target is not None and decision.target > size:
            found[name] = Expected(size, at if before is None else before.since, at)
        elif before is not None and _is_over(before, before.asked_at) and _is_kept(before, at):
            found[name] = before
    return found


def without_growth(known: Mapping[str, Expected], at: float) -> frozenset[str]:
    """The names of those whose growth is not counted on any more."""
    return frozenset([name for name, one in known.items() if _is_over(one, at)])


def _is_over(one: Expected, at: float) -> bool:
    return at - one.since >= PATIENCE_SECONDS


def _is_kept(one: Expected, at: float) -> bool:
    return at - one.asked_at < _REMEMBER_SECONDS


def _was_resized(reading: WorkerReading, within_seconds: float) -> bool:
    """Whether its companion has been asked for a size within that time, also for the one it has."""
    return any(seconds < within_seconds for _, seconds in reading.resizers or ())
