"""The queues that kombu has declared in Redis, by the sets in which it binds them to exchanges.

Whoever publishes or consumes writes a member, and nobody removes that of a queue which lost its last worker.
So these are the queues that tasks were ever sent to, mistyped ones too. Reading only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from autoscaler.broker.connections import DEFAULT_SEPARATOR
from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import decoded

if TYPE_CHECKING:
    from redis import Redis

#: How many keys one search looks at, how many in each round trip, and how many exchanges are read.
_SEARCHED_KEYS, _KEYS_AT_ONCE, _MAX_EXCHANGES = 200_000, 2_000, 1_000
#: Exchanges of remote control and of events: their queues hold no task.
_NO_TASKS = re.compile(r"(.*\.)?pidbox|celeryev(\..*)?", re.DOTALL)


def find_bound_queues(redis: Redis, prefix: str, separator: str = DEFAULT_SEPARATOR) -> frozenset[str]:
    """The queues of tasks that are bound under kombu's ``global_keyprefix``, consumed or not.

    The exchanges are looked for among the first 200,000 keys of the database.

    Raises:
        BrokerError: when Redis fails, or the user has no right to look.
    """
    beginning, cursor = f"{prefix}_kombu.binding.", 0
    pattern = re.sub(r"([*?^\[\]\\])", r"\\\1", beginning) + "*"
    exchanges: set[str] = set()
    with broker_errors():
        for _ in range(_SEARCHED_KEYS // _KEYS_AT_ONCE):
            reply: Any = redis.scan(cursor, match=pattern, count=_KEYS_AT_ONCE, _type="SET")
            cursor, keys = reply
            exchanges |= {decoded(key) for key in keys}
            if cursor == 0:
                break
        tasks = sorted(key for key in exchanges if not _NO_TASKS.fullmatch(key.removeprefix(beginning)))
        pipe = redis.pipeline(transaction=False)
        for key in tasks[:_MAX_EXCHANGES]:
            pipe.smembers(key)
        found = pipe.execute()
    return frozenset(queue for members in found for one in members if (queue := parse_queue(one, separator)))


def parse_queue(member: bytes, separator: str = DEFAULT_SEPARATOR) -> str:
    """The queue in a member ``ROUTING_KEY sep PATTERN sep QUEUE``, empty where it is in another form."""
    parts = member.split(separator.encode())
    return parts[-1].decode(errors="replace") if len(parts) == 3 else ""  # noqa: PLR2004 - see the docstring
