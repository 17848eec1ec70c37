"""What the autoscaler shares with others through Redis: the keys, and the shape of what is in them.

========================================  ====================================================  ========
``autoscaler:{name}:status``              JSON of the last tick; expires after 3 intervals      daemon
``autoscaler:{name}:events``              stream of actions and their outcomes, about 1000      daemon
``autoscaler:{name}:override``            JSON of an :class:`~autoscaler.core.model.Override`        admins
``autoscaler:{name}:lease``               token of the acting daemon, with an expiry            daemon
``autoscaler:cancelled``                  hash of what a drain or a quiescing has cancelled     both
========================================  ====================================================  ========

Times in these values are seconds since the epoch, since they pass between machines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoscaler.core.model import Override
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

MAX_EVENTS = 1000
_FIELDS = {"paused", "min", "max", "hold", "expires_at", "limits_expires_at", "by", "why"}
#: The end of the year 9999: a time beyond it is a slip (milliseconds), or none (NaN, infinity).
_LAST_SECOND = 253_402_300_799
#: The expiry of limits that never expire beside a pause that does.
NEVER = float(_LAST_SECOND)
#: One key for all: whoever starts next gives back what is noted, whatever its name.
CANCELLED_KEY = "autoscaler:cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of the autoscaler that is called ``name``."""

    name: str

    @property
    def status(self) -> str:
        """JSON of the last tick."""
        return f"autoscaler:{self.name}:status"

    @property
    def events(self) -> str:
        """Stream of actions and their outcomes."""
        return f"autoscaler:{self.name}:events"

    @property
    def override(self) -> str:
        """JSON of what administrators asked for."""
        return f"autoscaler:{self.name}:override"

    @property
    def lease(self) -> str:
        """Token of the acting daemon."""
        return f"autoscaler:{self.name}:lease"


class OverrideError(ValueError):
    """An override that cannot be used; the message names the field, its value and what is legal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideRequest:
    """An override as it is stored: with its expiry and a hold for each worker, in epoch seconds.

    ``expires_at`` is for the pause, and for the limits too where ``limits_expires_at`` is None.
    """

    paused: bool = False
    min_processes: int | None = None
    max_processes: int | None = None
    hold_until: Mapping[str, float] = field(default_factory=dict)
    expires_at: float | None = None
    limits_expires_at: float | None = None
    by: str | None = None
    why: str | None = None

    def __post_init__(self) -> None:
        for name, size in (("min", self.min_processes), ("max", self.max_processes)):
            if size is not None and (type(size) is not int or not 1 <= size <= MAX_PROCESSES):
                raise OverrideError(f"override: {name} is {size!r}; it must be from 1 to {MAX_PROCESSES}")
        if not isinstance(self.paused, bool):
            raise OverrideError(f"override: paused is {self.paused!r}; it must be true or false")
        if (self.min_processes or 0) > (self.max_processes or MAX_PROCESSES):
            raise OverrideError(f"override: min is {self.min_processes}, above max, {self.max_processes}")
        ends = (self.expires_at, self.limits_expires_at)
        times = [*self.hold_until.values(), *(end for end in ends if end is not None)]
        if not all(type(time) in (int, float) and 0 <= time <= _LAST_SECOND for time in times):
            raise OverrideError("override: hold and expires_at must be seconds since the epoch")

    @property
    def has_limits(self) -> bool:
        """Whether it bounds the workers."""
        return self.min_processes is not None or self.max_processes is not None

    @property
    def limits_end(self) -> float | None:
        """When min and max expire, in epoch seconds; None is never."""
        return self.expires_at if self.limits_expires_at is None else self.limits_expires_at

    def to_json(self) -> str:
        """The stored form."""
        return json.dumps(
            {
                "paused": self.paused,
                "min": self.min_processes,
                "max": self.max_processes,
                "hold": dict(self.hold_until),
                "expires_at": self.expires_at,
                "limits_expires_at": self.limits_expires_at,
                "by": self.by,
                "why": self.why,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> OverrideRequest:
        """Read the stored form.

        Raises:
            OverrideError: where it is no JSON object or a field is not legal.
        """
        try:
            stored = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise OverrideError("override: it is no JSON") from fault
        if isinstance(stored, dict) and (unknown := sorted(stored.keys() - _FIELDS)):
            legal = ", ".join(sorted(_FIELDS))
            raise OverrideError(f"override: {unknown[0][:40]!r} is no field; legal are {legal}")
        if not isinstance(stored, dict) or not isinstance(stored.get("hold") or {}, dict):
            raise OverrideError("override: it must be a JSON object, and hold in it one of worker to time")
        return cls(
            paused=stored.get("paused", False),
            min_processes=stored.get("min"),
            max_processes=stored.get("max"),
            hold_until=stored.get("hold") or {},
            expires_at=stored.get("expires_at"),
            limits_expires_at=stored.get("limits_expires_at"),
            by=None if stored.get("by") is None else str(stored["by"]),
            why=None if stored.get("why") is None else str(stored["why"]),
        )

    def at(self, now: float) -> Override:
        """What still stands at ``now``, epoch seconds."""
        held = frozenset(worker for worker, until in self.hold_until.items() if until > now)
        paused = self.paused and not _expired(self.expires_at, now)
        limited = self.has_limits and not _expired(self.limits_end, now)
        if not limited and _expired(self.expires_at, now):
            return Override(held_workers=held)
        return Override(
            paused=paused,
            min_processes=self.min_processes if limited else None,
            max_processes=self.max_processes if limited else None,
            held_workers=held,
            by=self.by,
            why=self.why,
        )


def _expired(at: float | None, now: float) -> bool:
    return at is not None and at <= now


def read_override(redis: Redis, name: str) -> OverrideRequest:
    """The stored override of the autoscaler ``name``; an empty one where there is none.

    Raises:
        OverrideError: where what is stored is not legal.
        redis.RedisError: when Redis fails.
    """
    stored: Any = redis.get(Keys(name=name).override)
    return OverrideRequest() if stored is None else OverrideRequest.from_json(_text(stored))


def write_override(redis: Redis, name: str, request: OverrideRequest, *, now: float) -> None:
    """Store an override; it leaves Redis when its last part has expired.

    Raises:
        redis.RedisError: when Redis fails.
    """
    ends: list[float | None] = list(request.hold_until.values())
    ends += [request.expires_at] if request.paused else []
    ends += [request.limits_end] if request.has_limits else []
    last = max((NEVER if end is None else end for end in ends), default=now)
    expiry = None if last >= NEVER else max(1, int((last - now) * 1000))
    redis.set(Keys(name=name).override, request.to_json(), px=expiry)


def read_status(redis: Redis, name: str) -> dict[str, Any] | None:
    """The daemon's last tick, or None where no daemon of that name has told one lately."""
    stored: Any = redis.get(Keys(name=name).status)
    found = None if stored is None else json.loads(_text(stored))
    return found if isinstance(found, dict) else None


def publish(
    redis: Redis, name: str, status: Mapping[str, Any], events: list[dict[str, Any]], *, expiry_seconds: float
) -> None:
    """Store the tick's status and append its events, in one round trip.

    Raises:
        redis.RedisError: when Redis fails.
    """
    keys = Keys(name=name)
    pipeline = redis.pipeline(transaction=False)
    pipeline.set(keys.status, json.dumps(status), px=max(1, int(expiry_seconds * 1000)))
    for event in events:
        fields: Any = {key: "" if value is None else value for key, value in event.items()}
        pipeline.xadd(keys.events, fields, maxlen=MAX_EVENTS, approximate=True)
    pipeline.execute()


def _text(stored: Any) -> str:
    return stored.decode(errors="replace") if isinstance(stored, bytes) else str(stored)
