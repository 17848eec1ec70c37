"""How many messages workers have fetched and not acknowledged: kombu's hash of them, one for all queues.

Messages of a worker that was killed stay in it, and in no queue, until a worker that consumes restores them
(kombu, ``transport/redis.py``: ``restore_visible``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis import Redis

UNACKED_KEY = "unacked"


class UnackedSensor:
    """Reads the size of such hashes; ``prefix`` and ``key`` hold where a worker has not reported its own."""

    def __init__(self, redis: Callable[[], Redis], *, prefix: str = "", key: str = UNACKED_KEY) -> None:
        self._redis = redis
        self._prefix = prefix
        self._key = key

    def read(self, places: Iterable[tuple[str | None, str | None]]) -> int:
        """The messages of all queues, over these (``global_keyprefix``, ``unacked_key``).

        Raises:
            BrokerError: where one cannot be read, such as a key of another type.
        """
        keys = {(self._prefix if prefix is None else prefix) + (key or self._key) for prefix, key in places}
        if not keys:
            return 0
        pipeline = self._redis().pipeline(transaction=False)
        for key in sorted(keys):
            pipeline.hlen(key)
        with broker_errors():
            found: list[Any] = pipeline.execute()
        return sum(map(int, found))
