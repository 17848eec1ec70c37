"""The control mailboxes of workers, as kombu keeps them in a Redis set: reading their names, removing some.

kombu writes a worker's member only when it connects. Members of killed workers stay, and a living worker can
be without one (after a FLUSHALL, an eviction, or the exit of an older worker of its name).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.broker.connections import DEFAULT_SEPARATOR
from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from redis import Redis

#: Celery's own ``control_exchange``.
DEFAULT_EXCHANGE = "celery"
#: The set in which kombu keeps the control mailboxes of workers; killed ones stay in it.
MAILBOXES_KEY = f"_kombu.binding.{DEFAULT_EXCHANGE}.pidbox"
_SETS = re.compile(r"(?P<prefix>.*)_kombu\.binding\.(?P<exchange>(?!reply\.).+)\.pidbox", re.DOTALL)
#: How many keys one search looks at, and how many in each round trip.
_SEARCHED_KEYS, _KEYS_AT_ONCE = 200_000, 2_000
_MAX_SEPARATOR_BYTES = 16
_DEFAULT = DEFAULT_SEPARATOR.encode()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class MailboxSet:
    """A set of mailboxes that was found: under which ``global_keyprefix``, of which ``control_exchange``."""

    prefix: str
    exchange: str


def mailboxes_key(exchange: str) -> str:
    """The set of the mailboxes of a control exchange, without kombu's ``global_keyprefix``."""
    return f"_kombu.binding.{exchange}.pidbox"


def parse_mailbox_set(key: str) -> MailboxSet | None:
    """What a key says where it is a set of workers' mailboxes, else None."""
    found = _SETS.fullmatch(key)
    return MailboxSet(prefix=found["prefix"], exchange=found["exchange"]) if found else None


def find_mailbox_sets(redis: Redis) -> frozenset[MailboxSet]:
    """The sets of mailboxes among the first 200,000 keys of the database.

    Raises:
        BrokerError: when Redis fails, or the user has no right to look.
    """
    found, cursor = set(), 0
    with broker_errors():
        for _ in range(_SEARCHED_KEYS // _KEYS_AT_ONCE):
            reply: Any = redis.scan(cursor, match="*_kombu.binding.*.pidbox", count=_KEYS_AT_ONCE)
            cursor, keys = reply
            found |= {parse_mailbox_set(decoded(key)) for key in keys}
            if cursor == 0:
                break
    return frozenset(one for one in found if one is not None)


def parse_mailbox(
    member: bytes, separator: str = DEFAULT_SEPARATOR, exchange: str = DEFAULT_EXCHANGE
) -> str | None:
    """The worker's name from a member of kombu's binding set, None where it is not a worker's mailbox."""
    suffix = f".{exchange}.pidbox"
    queue = member.split(separator.encode())[-1].decode(errors="replace")
    return queue.removesuffix(suffix) if queue.endswith(suffix) else None


def separator_of(members: Iterable[bytes]) -> str | None:
    """The ``sep`` that mailboxes were written with, None where it does not show.

    A mailbox has no routing key and no pattern, so that its member begins with the separator, twice.
    """
    found = {_separator(member) for member in members}
    return found.pop().decode(errors="replace") or None if len(found) == 1 else None


def _separator(member: bytes) -> bytes:
    if member.startswith(2 * _DEFAULT):
        return _DEFAULT
    repeated = (
        member[:length]
        for length in range(_MAX_SEPARATOR_BYTES, 0, -1)
        if member[:length] == member[length : 2 * length]
    )
    return next(repeated, b"")


def read_mailboxes(members: Iterable[bytes], exchange: str = DEFAULT_EXCHANGE) -> frozenset[str]:
    """The workers' names from all members of kombu's binding set, whichever ``sep`` wrote them."""
    found = []
    for member in members:
        separator = _separator(member).decode(errors="replace") or DEFAULT_SEPARATOR
        found.append(parse_mailbox(member, separator, exchange))
    return frozenset(name for name in found if name)


class MailboxRemover:
    """Removes mailboxes from kombu's sets, under kombu's ``global_keyprefix``.

    ``exchanges`` returns the control exchanges whose mailboxes are meant.
    """

    def __init__(
        self,
        redis: Callable[[], Redis],
        prefix: str,
        exchanges: Callable[[], Iterable[str]] = lambda: (DEFAULT_EXCHANGE,),
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._exchanges = exchanges

    def remove(self, names: Collection[str]) -> None:
        """Remove the mailboxes of these workers.

        Raises:
            BrokerError: when Redis fails, or the user has no right to do so.
        """
        for exchange in self._exchanges():
            key = f"{self._prefix}{mailboxes_key(exchange)}"
            with broker_errors():
                members: Any = self._redis().smembers(key)
                gone = [member for member in members if read_mailboxes([member], exchange) & set(names)]
                if gone:
                    self._redis().srem(key, *gone)
