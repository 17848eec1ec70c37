"""Celery's remote control with bounded time: one command to named workers, and what they answered.

kombu's own ways wait for ever: a mailbox publishes with endless retries, and its timeout starts anew with
each reply. Here a call uses a connection and a reply queue of its own, publishes once, and ends at its
deadline. A connection used again could still be waiting for the last call's replies and miss its own.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kombu import Producer
from kombu.pidbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kombu import Connection

#: A reply is waited for by a blocking read of 1 s; a shorter deadline would cut it short.
MIN_TIMEOUT_SECONDS = 1.0


class _DeadlinePassed(Exception):  # noqa: N818 - a signal between two frames of this module, not an error
    pass


class _PublishOnce(Producer):  # type: ignore[misc]
    def publish(self, *args: Any, **options: Any) -> Any:
        return super().publish(*args, **{**options, "retry": False})


class _Publishers:
    """A producer pool for a mailbox, on the connection of the call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def acquire(self) -> Iterator[_PublishOnce]:
        yield _PublishOnce(self._connection.default_channel, auto_declare=False)


class _PrivateMailbox(Mailbox):  # type: ignore[misc]
    """A mailbox whose replies cannot be mixed up with those to an earlier call."""

    oid = ""


class Remote:
    """Sends remote-control commands. ``connect`` returns a fresh connection, bounded in time."""

    def __init__(self, connect: Callable[[], Connection], *, timeout_seconds: float) -> None:
        self._connect = connect
        self._timeout_seconds = max(MIN_TIMEOUT_SECONDS, timeout_seconds)

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Send ``command`` to ``workers`` and return their replies by name.

        It returns as soon as all have answered, or after the timeout with those that have. A name with more
        than one reply is a name that two workers share. A worker that is missing *may still do* what it was
        told.

        Raises:
            OSError, kombu and redis errors: when the broker cannot be reached or refuses.
        """
        if not workers:
            return {}
        replies: dict[str, list[Any]] = {}
        deadline = time.monotonic() + self._timeout_seconds

        def collect(body: Mapping[str, Any]) -> None:
            for worker, reply in body.items():
                replies.setdefault(worker, []).append(reply)
            if time.monotonic() > deadline:
                raise _DeadlinePassed

        with self._mailbox() as mailbox, suppress(_DeadlinePassed):
            mailbox.call(
                list(workers), command, dict(arguments), timeout=self._timeout_seconds, callback=collect
            )
        return replies

    def cast(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> None:
        """Send ``command`` to ``workers`` and wait for no reply.

        Raises:
            OSError, kombu and redis errors: when the broker cannot be reached or refuses.
        """
        with self._mailbox() as mailbox:
            mailbox.cast(list(workers), command, dict(arguments))

    @contextmanager
    def _mailbox(self) -> Iterator[_PrivateMailbox]:
        with self._connect() as connection:
            mailbox = _PrivateMailbox(
                "celery",
                type="fanout",
                connection=connection,
                accept=["json"],
                serializer="json",
                producer_pool=_Publishers(connection),
            )
            mailbox.oid = uuid4().hex
            yield mailbox
