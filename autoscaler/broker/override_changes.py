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


def in_force(request: OverrideRequest, now: float) -> OverrideRequest:
    """The parts that have not expired at ``now``, epoch seconds; nobody's name is left on nothing."""
    held = {worker: until for worker, until in request.hold_until.items() if until > now}
    paused = request.paused and not _expired(request.expires_at, now)
    limited = request.has_limits and not _expired(request.limits_end, now)
    return OverrideRequest(
        paused=paused,
        min_processes=request.min_processes if limited else None,
        max_processes=request.max_processes if limited else None,
        hold_until=held,
        expires_at=request.expires_at if paused else None,
        limits_expires_at=(request.limits_end or NEVER) if limited else None,
        by=request.by if paused or limited or held else None,
        why=request.why if paused or limited or held else None,
    )


def pause(
    until: float | None, by: str | None, why: str | None
) -> Callable[[OverrideRequest], OverrideRequest]:
    """Resize nothing until then; None is until it is resumed."""
    return lambda before: replace(before, paused=True, expires_at=until, by=by, why=why)


def resume(before: OverrideRequest) -> OverrideRequest:
    """End the pause; limits and holds remain."""
    return replace(before, paused=False, expires_at=None)


def limit(
    bounds: Mapping[str, int | None], until: float | None, by: str | None, why: str | None
) -> Callable[[OverrideRequest], OverrideRequest]:
    """Bound every worker until then; ``bounds`` has ``min_processes``, ``max_processes`` or both.

    None in ``bounds`` removes one. A pause in force keeps its own name and reason.
    """

    def change(before: OverrideRequest) -> OverrideRequest:
        named: dict[str, Any] = {} if before.paused else {"by": by, "why": why}
        sizes: dict[str, Any] = dict(bounds)
        changed = replace(before, limits_expires_at=None, **sizes, **named)
        return replace(changed, limits_expires_at=(until or NEVER) if changed.has_limits else None)

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
            request = change(in_force(read_override(pipeline, name), now))
            pipeline.multi()
            write_override(pipeline, name, request, now=now)
            try:
                pipeline.execute()
            except WatchError:
                continue
            return request
    raise OverrideError("override: others change it all the time; try again")


def _expired(at: float | None, now: float) -> bool:
    return at is not None and at <= now
