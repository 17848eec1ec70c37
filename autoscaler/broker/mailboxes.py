"""The control mailboxes of workers, as kombu keeps them in a Redis set: reading their names, removing some.

kombu writes a worker's member only when it connects. Members of killed workers stay, and a living worker can
be without one (after a FLUSHALL, an eviction, or the exit of an older worker of its name).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.broker.connections import DEFAULT_SEPARATOR
from autoscaler.broker.errors import broker_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from redis import Redis

#: The set in which kombu keeps the control mailboxes of workers; killed ones stay in it.
MAILBOXES_KEY = "_kombu.binding.celery.pidbox"
_MAILBOX_SUFFIX = ".celery.pidbox"
_MAX_SEPARATOR_BYTES = 16
_DEFAULT = DEFAULT_SEPARATOR.encode()


def parse_mailbox(member: bytes, separator: str = DEFAULT_SEPARATOR) -> str | None:
    """The worker's name from a member of kombu's binding set, None where it is not a worker's mailbox."""
    queue = member.split(separator.encode())[-1].decode(errors="replace")
    return queue.removesuffix(_MAILBOX_SUFFIX) if queue.endswith(_MAILBOX_SUFFIX) else None


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


def read_mailboxes(members: Iterable[bytes]) -> frozenset[str]:
    """The workers' names from all members of kombu's binding set, whichever ``sep`` wrote them."""
    found = []
    for member in members:
        separator = _separator(member).decode(errors="replace") or DEFAULT_SEPARATOR
        found.append(parse_mailbox(member, separator))
    return frozenset(name for name in found if name)


class MailboxRemover:
    """Removes mailboxes from kombu's set, under kombu's ``global_keyprefix``."""

    def __init__(self, redis: Callable[[], Redis], prefix: str) -> None:
        self._redis = redis
        self._key = f"{prefix}{MAILBOXES_KEY}"

    def remove(self, names: Collection[str]) -> None:
        """Remove the mailboxes of these workers.

        Raises:
            BrokerError: when Redis fails, or the user has no right to do so.
        """
        with broker_errors():
            members: Any = self._redis().smembers(self._key)
            gone = [member for member in members if read_mailboxes([member]) & set(names)]
            if gone:
                self._redis().srem(self._key, *gone)
