"""Changes to the stored override: each keeps what it does not concern, and they are applied one at a time.

A change is a pure function from one :class:`OverrideRequest` to the next. A pause and the limits expire
independently: to change one never shortens or extends the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import WatchError

from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import Keys
from autoscaler.broker.overrides import (
    NEVER,
    OverrideError,
    OverrideRequest,
    read_override,
    write_override,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from redis import Redis

_ATTEMPTS = 20


def pause(
    until: float | None, by: str | None, why: str | None
) -> Callable[[OverrideRequest], OverrideRequest]:
    """Resize nothing until then; None is until it is resumed."""
    return lambda before: replace(before, paused=True, expires_at=until, by=by, why=why)


def resume(before: OverrideRequest) -> OverrideRequest:
    """End the pause, and who asked for it and why; limits and holds remain."""
    if not before.paused:
        return before
    return replace(before, paused=False, expires_at=None, by=None, why=None)


def limit(
    bounds: Mapping[str, int | None], until: float | None, by: str | None, why: str | None
) -> Callable[[OverrideRequest], OverrideRequest]:
    """Bound every worker until then; ``bounds`` has ``min_processes``, ``max_processes`` or both.

    None in ``bounds`` removes one. A pause in force keeps its own name and reason.
    """

    def change(before: OverrideRequest) -> OverrideRequest:
        sizes: dict[str, Any] = dict(bounds)
        changed = replace(before, limits_expires_at=None, **sizes)
        named: dict[str, Any] = {}
        if not before.paused and (changed.has_limits or before.has_limits):
            named = {"by": by, "why": why} if changed.has_limits else {"by": None, "why": None}
        end = (until or NEVER) if changed.has_limits else None
        return replace(changed, limits_expires_at=end, **named)

    return change


def hold(
    workers: Collection[str], until: float, by: str | None, why: str | None
) -> Callable[[OverrideRequest], OverrideRequest]:
    """Leave these workers as they are until then."""

    def change(before: OverrideRequest) -> OverrideRequest:
        named: dict[str, Any] = {} if before.paused or before.has_limits else {"by": by, "why": why}
        held: dict[str, Any] = {"hold_until": {**before.hold_until, **dict.fromkeys(workers, until)}}
        return replace(before, **held, **named)

    return change


def release(workers: Collection[str]) -> Callable[[OverrideRequest], OverrideRequest]:
    """End the holds of these workers."""
    return lambda before: replace(
        before, hold_until={name: end for name, end in before.hold_until.items() if name not in workers}
    )


def change_override(
    redis: Redis, name: str, change: Callable[[OverrideRequest], OverrideRequest], *, now: float
) -> OverrideRequest:
    """Apply a change to the stored override of the autoscaler ``name`` and return the result.

    A change by somebody else in the meantime is not lost: ours is applied again on top of it.

    Raises:
        OverrideError: where what is stored or what results is not legal; nothing is changed.
        BrokerError: when Redis fails.
    """
    with broker_errors(), redis.pipeline() as pipeline:
        for _ in range(_ATTEMPTS):
            pipeline.watch(Keys(name=name).override)  # type: ignore[no-untyped-call]
            request = change(read_override(pipeline, name).in_force(now))
            pipeline.multi()
            write_override(pipeline, name, request, now=now)
            try:
                pipeline.execute()
            except WatchError:
                continue
            return request
    raise OverrideError("override: others change it all the time; try again")
