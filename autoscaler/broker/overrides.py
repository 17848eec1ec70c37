"""The override that administrators store for a daemon: its fields, their bounds, reading and writing it.

Only the stored form belongs here. What an override does to a decision is the core's concern.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import Keys, decoded
from autoscaler.core import foreign_json
from autoscaler.core.model import Override
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redis import Redis

#: The end of the year 9999: a time beyond it is milliseconds by mistake, or no time (NaN, infinity).
_LAST_SECOND = 253_402_300_799
#: A time before this (2001) is a duration by mistake: an override that ended then was never in force.
_FIRST_SECOND = 1_000_000_000
#: The expiry of limits that never expire, beside a pause that does.
NEVER = float(_LAST_SECOND)
_FIELDS = frozenset({"paused", "min", "max", "hold", "expires_at", "limits_expires_at", "by", "why"})
_MAX_TEXT_CHARACTERS = 200
_MAX_SHOWN_CHARACTERS = 40


class OverrideError(ValueError):
    """An override that cannot be used; the message names the field, its value and what is legal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideRequest:
    """An override as it is stored: with its expiry and a hold for each worker, in epoch seconds.

    ``expires_at`` is for the pause, and for the limits too where ``limits_expires_at`` is None.
    ``by`` and ``why`` are of the pause, where there is none of the limits, and where there are none of the
    holds. They are shortened to 200 characters when it is read: both are copied into every status.
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
                raise OverrideError(
                    f"override: {name} is {_shown(size)}; it must be from 1 to {MAX_PROCESSES}"
                )
        if not isinstance(self.paused, bool):
            raise OverrideError(f"override: paused is {_shown(self.paused)}; it must be true or false")
        if (self.min_processes or 0) > (self.max_processes or MAX_PROCESSES):
            raise OverrideError(f"override: min is {self.min_processes}, above max, {self.max_processes}")
        for name, time in self._times():
            if type(time) not in (int, float) or not 0 <= time <= _LAST_SECOND:
                raise OverrideError(f"override: {name} is {_shown(time)}; it must be seconds since the epoch")

    def _times(self) -> Iterator[tuple[str, Any]]:
        """All times, by what they are called in a message."""
        ends = {"expires_at": self.expires_at, "limits_expires_at": self.limits_expires_at}
        yield from ((name, end) for name, end in ends.items() if end is not None)
        yield from ((f"hold of {_shown(worker)}", until) for worker, until in self.hold_until.items())

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
            OverrideError: where it is no JSON object, or a field is unknown or not legal.
        """
        try:
            stored = foreign_json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise OverrideError("override: it is not JSON") from fault
        if not isinstance(stored, dict):
            raise OverrideError("override: it must be a JSON object")
        if unknown := sorted(stored.keys() - _FIELDS):
            # A mistyped pause must not end the one in force: the reader keeps what it read last.
            legal = ", ".join(sorted(_FIELDS))
            raise OverrideError(f"override: {_shown(unknown[0])} is no field; legal are {legal}")
        hold = {} if stored.get("hold") is None else stored["hold"]
        if not isinstance(hold, dict):
            raise OverrideError(f"override: hold is {_shown(hold)}; it must be an object of worker to time")
        request = cls(
            paused=stored.get("paused", False),
            min_processes=stored.get("min"),
            max_processes=stored.get("max"),
            hold_until=hold,
            expires_at=stored.get("expires_at"),
            limits_expires_at=stored.get("limits_expires_at"),
            by=_bounded("by", stored.get("by")),
            why=_bounded("why", stored.get("why")),
        )
        for name, time in request._times():
            if time < _FIRST_SECOND:
                raise OverrideError(
                    f"override: {name} is {_shown(time)}; it must be seconds since the epoch, not from now on"
                )
        return request

    def in_force(self, now: float) -> OverrideRequest:
        """The parts that have not expired at ``now``, epoch seconds; a name leaves with what it was for."""
        held = {worker: until for worker, until in self.hold_until.items() if until > now}
        paused = self.paused and not _expired(self.expires_at, now)
        limited = self.has_limits and not _expired(self.limits_end, now)
        named = paused if self.paused else limited if self.has_limits else bool(held)
        return OverrideRequest(
            paused=paused,
            min_processes=self.min_processes if limited else None,
            max_processes=self.max_processes if limited else None,
            hold_until=held,
            expires_at=self.expires_at if paused else None,
            limits_expires_at=(self.limits_end or NEVER) if limited else None,
            by=self.by if named else None,
            why=self.why if named else None,
        )

    def at(self, now: float) -> Override:
        """What a daemon is to do by it at ``now``, epoch seconds."""
        now_on = self.in_force(now)
        limits_end = now_on.limits_expires_at
        return Override(
            paused=now_on.paused,
            min_processes=now_on.min_processes,
            max_processes=now_on.max_processes,
            held_workers=frozenset(now_on.hold_until),
            by=now_on.by,
            why=now_on.why,
            paused_until=now_on.expires_at,
            limits_until=None if limits_end is None or limits_end >= NEVER else limits_end,
            held_until=now_on.hold_until,
        )


def read_override(redis: Redis, name: str) -> OverrideRequest:
    """The stored override of the autoscaler ``name``; an empty one where there is none.

    Raises:
        OverrideError: where what is stored is not legal.
        BrokerError: when Redis fails.
    """
    with broker_errors():
        stored: Any = redis.get(Keys(name=name).override)
    return OverrideRequest() if stored is None else OverrideRequest.from_json(decoded(stored))


def write_override(redis: Redis, name: str, request: OverrideRequest, *, now: float) -> None:
    """Store an override; it leaves Redis when its last part has expired.

    Raises:
        BrokerError: when Redis fails.
    """
    ends: list[float | None] = list(request.hold_until.values())
    ends += [request.expires_at] if request.paused else []
    ends += [request.limits_end] if request.has_limits else []
    last = max((NEVER if end is None else end for end in ends), default=now)
    expiry = None if last >= NEVER else max(1, int((last - now) * 1000))
    with broker_errors():
        redis.set(Keys(name=name).override, request.to_json(), px=expiry)


def _expired(at: float | None, now: float) -> bool:
    return at is not None and at <= now


def _shown(value: object) -> str:
    """A value for a message, as Python writes it, shortened."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[: _MAX_SHOWN_CHARACTERS - 3]}..."


def _bounded(name: str, value: object) -> str | None:
    if value is None:
        return None
    # A number too: that of a ticket.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise OverrideError(f"override: {name} is {_shown(value)}; it must be a text")
    text = str(value)
    return text if len(text) <= _MAX_TEXT_CHARACTERS else f"{text[: _MAX_TEXT_CHARACTERS - 3]}..."
