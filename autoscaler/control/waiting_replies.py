"""Takes the replies that wait in Redis by the hundred: kombu on its own takes one in each round trip.

What belongs here: reading a list of replies at once. What may never enter: what a reply means. A server
before Redis 6.2 and a user without the right to ``RPOP`` are asked once; replies come one by one then.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kombu.message import Message

_MAX_AT_ONCE = 500
#: Fewer are as quickly taken one by one.
_MIN_EXPECTED = 8


class WaitingReplies:
    """Takes many replies at once, as long as the server allows it; one for each connection's life."""

    def __init__(self) -> None:
        self._allowed = True

    def take(
        self, channel: Any, queues: Iterable[str], expected: int, take: Callable[[Message], None]
    ) -> None:
        """Give ``take`` each reply that waits in ``queues`` now, where many are ``expected``.

        ``channel`` is kombu's, of the Redis transport. What is no message of kombu's is left out.
        """
        if expected < _MIN_EXPECTED or not self._allowed:
            return
        for queue in queues:
            found = [b""] * _MAX_AT_ONCE
            while len(found) == _MAX_AT_ONCE:
                try:
                    with channel.conn_or_acquire() as client:
                        found = client.rpop(queue, _MAX_AT_ONCE) or []
                except ResponseError:
                    self._allowed = False
                    return
                for raw in found:
                    try:
                        message = channel.Message(json.loads(raw), channel=channel)
                    except (ValueError, KeyError, TypeError):
                        continue
                    take(message)
