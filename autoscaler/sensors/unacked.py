"""How many messages workers have fetched and not acknowledged: kombu's hash of them, one for all queues.

Messages of a worker that was killed stay in it, and in no queue, until a worker that consumes restores them
(kombu, ``transport/redis.py``: ``restore_visible``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from autoscaler.sensors.queues import KeyLayout

UNACKED_KEY = "unacked"


class UnackedSensor:
    """Reads the size of that hash."""

    def __init__(self, redis: Callable[[], Redis], layout: KeyLayout) -> None:
        self._redis = redis
        self._key = f"{layout.prefix}{UNACKED_KEY}"

    def read(self) -> int:
        """The messages of all queues.

        Raises:
            BrokerError: where it cannot be read.
        """
        with broker_errors():
            found: Any = self._redis().hlen(self._key)
        return int(found)
