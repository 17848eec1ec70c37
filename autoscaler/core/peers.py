"""Workers of another autoscaler that do not grow although this one counts on it.

Pure. Each autoscaler of a fleet of sidecars sizes its own worker, and counts on the others to take their
share of a growth. One that nobody resizes, or whose autoscaler has a lower maximum, never takes it: its tasks
would wait. So what is seen not to grow for longer than an autoscaler with the same settings takes counts with
the size it has, and the others grow instead, until its size changes, somebody resizes it or it is restarted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from autoscaler.core.model import Decision, WorkerReading
    from autoscaler.core.policy import Policy

#: The shortest time that a growth may take which another autoscaler decides.
_MIN_PATIENCE_SECONDS = 60.0
#: It takes at least so many looks to find that a worker does not grow: none may count for more of the time.
#: In an outage nobody resizes anything.
_LOOKS = 4
#: How long it is remembered that a worker did not grow, once nothing more is asked of it.
_REMEMBER_SECONDS = 3600.0


class Expected(NamedTuple):
    """Growth from ``size`` that is counted on ``since`` then, and was last at ``asked_at``.

    Those are monotonic seconds. ``left_seconds`` is for how much longer it is counted on.
    """

    size: int
    since: float
    asked_at: float
    left_seconds: float


def patience(policy: Policy, interval_seconds: float | None, *, has_delays: bool) -> float:
    """How many seconds another autoscaler with the same settings may take for a growth.

    It may have just started, so that its delay and its cooldown begin, where it ``has_delays``; its first
    action may get lost.
    """
    delays = policy.scale_up_delay_seconds + policy.scale_up_cooldown_seconds if has_delays else 0.0
    needed = delays + policy.settle_seconds + _LOOKS * (interval_seconds or 0.0)
    return max(_MIN_PATIENCE_SECONDS, needed)


def unchanged(
    known: Mapping[str, Expected], readings: Iterable[WorkerReading], at: float
) -> dict[str, Expected]:
    """What still holds after these readings; of a worker that does not answer nothing new is known."""
    found = dict(known)
    for reading in readings if known else ():
        one = known.get(reading.name)
        if one is not None and reading.processes is not None and _is_answered(one, reading, at - one.since):
            del found[reading.name]
    return found


def follow(
    known: Mapping[str, Expected], decisions: Collection[Decision], at: float, patience_seconds: float
) -> dict[str, Expected]:
    """What is expected of the workers that another autoscaler resizes; ``decisions`` are those for them."""
    found = {}
    for decision in decisions:
        name, size, target = decision.worker, decision.current, decision.target
        before = known.get(name)
        if size is None:
            if before is not None:
                found[name] = before
        elif target is not None and target > size:
            found[name] = _asked(before, size, at, patience_seconds)
        elif before is not None and _is_over(before) and at - before.asked_at < _REMEMBER_SECONDS:
            found[name] = before
    return found


def without_growth(known: Mapping[str, Expected]) -> frozenset[str]:
    """The names of those whose growth is not counted on any more."""
    return frozenset([name for name, one in known.items() if _is_over(one)])


def _asked(before: Expected | None, size: int, at: float, patience_seconds: float) -> Expected:
    if before is None:
        return Expected(size, at, at, patience_seconds)
    passed = min(at - before.asked_at, patience_seconds / _LOOKS)
    return before._replace(asked_at=at, left_seconds=max(0.0, before.left_seconds - passed))


def _is_over(one: Expected) -> bool:
    return one.left_seconds <= 0


def _is_answered(one: Expected, reading: WorkerReading, passed: float) -> bool:
    """Whether its size changed within the time ``passed``, it was restarted, or somebody resized it.

    A resize to the size it has is one too.
    """
    restarted = reading.uptime_seconds is not None and reading.uptime_seconds < passed
    resized = any(seconds < passed for _, seconds in reading.resizers or ())
    return reading.processes != one.size or restarted or resized
