"""The keys that the autoscaler shares with others through Redis, and how its status is stored.

==============================  ====================================================================  ======
``autoscaler:{name}:status``    JSON of the last tick; expires after 3 x max(interval, tick, timeout) daemon
``autoscaler:{name}:events``    stream of actions and their outcomes, about 1000                      daemon
``autoscaler:{name}:override``  JSON of an ``OverrideRequest`` (:mod:`autoscaler.broker.overrides`)   admins
``autoscaler:{name}:history``   hash of the last 24 hours, one more for each group; expires        daemon
``autoscaler:{name}:memory``    JSON of what processes need of memory, by worker; expires           daemon
``autoscaler:{name}:lease``     token of the acting daemon, with an expiry                            daemon
``autoscaler:cancelled``        hash of the consumers that a drain or a quiesce has cancelled         both
==============================  ====================================================================  ======

Times in these values are seconds since the epoch, since they pass between machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors
from autoscaler.core import foreign_json

if TYPE_CHECKING:
    from redis import Redis

MAX_EVENTS = 1000
#: One key for all: the next daemon to start restores what is recorded, whatever its name.
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
        """JSON of the override that administrators set."""
        return f"autoscaler:{self.name}:override"

    @property
    def history(self) -> str:
        """Hash of the last 24 hours, in blocks; each group has one of its own below this name."""
        return f"autoscaler:{self.name}:history"

    @property
    def memory(self) -> str:
        """JSON of what was learnt of the memory of workers."""
        return f"autoscaler:{self.name}:memory"

    @property
    def lease(self) -> str:
        """Token of the acting daemon."""
        return f"autoscaler:{self.name}:lease"


def read_status(redis: Redis, name: str) -> dict[str, Any] | None:
    """The daemon's last tick, or None where no daemon of that name has stored one lately.

    Raises:
        BrokerError: when Redis fails.
    """
    with broker_errors():
        stored: Any = redis.get(Keys(name=name).status)
    try:
        found = None if stored is None else foreign_json.loads(decoded(stored))
    except (ValueError, RecursionError):
        return None
    return found if _is_status(found) else None


def _is_status(found: Any) -> bool:
    """Whether it has the shape of a status: another program may have written it, or another version."""
    if not isinstance(found, dict) or type(found.get("at", 0)) not in (int, float, type(None)):
        return False
    lists = {name: found.get(name, []) for name in ("workers", "groups", "decisions", "unresponsive")}
    if not all(isinstance(one, list) for one in lists.values()) or not isinstance(
        found.get("faults", {}), dict
    ):
        return False
    rows = [*lists["workers"], *lists["groups"], *lists["decisions"]]
    return all(isinstance(row, dict) for row in rows) and all(
        isinstance(group.get(names, []), list) for group in lists["groups"] for names in ("queues", "workers")
    )


def publish(
    redis: Redis, name: str, status: str, events: list[dict[str, Any]], *, expiry_seconds: float
) -> None:
    """Store the tick's status, which is JSON, and append its events, in one round trip.

    Raises:
        BrokerError: when Redis fails.
    """
    keys = Keys(name=name)
    pipeline = redis.pipeline(transaction=False)
    pipeline.set(keys.status, status, px=max(1, int(expiry_seconds * 1000)))
    for event in events:
        fields: Any = {key: "" if value is None else value for key, value in event.items()}
        pipeline.xadd(keys.events, fields, maxlen=MAX_EVENTS, approximate=True)
    with broker_errors():
        pipeline.execute()


def decoded(stored: Any) -> str:
    """A value from Redis as text, whether or not the client decodes replies."""
    return stored.decode(errors="replace") if isinstance(stored, bytes) else str(stored)
