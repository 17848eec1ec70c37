"""Takes the replies that wait in Redis by the hundred: kombu on its own takes one in each round trip.

What belongs here: reading a list of replies at once. What may never enter: what a reply means. A server
before Redis 6.2 and a user without the right to ``RPOP`` are asked once; replies come one by one then.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.serialization import prepare_accept_content
from redis.exceptions import ResponseError

from autoscaler.broker.fast_json import MANY, loads
from autoscaler.core.foreign_json import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_AT_ONCE = 500
#: What a message raises, in kombu's hands and ours, that is none of kombu's or has parts of another type.
JUNK = (AttributeError, ContentDisallowed, DecodeError, LookupError, RecursionError, TypeError, ValueError)
#: kombu's JSON names types that JSON has not by this key.
_TYPED = b"__type__"


class Reply:
    """A reply as kombu stores it, with the attributes of its message that a reader needs.

    ``channel`` is kombu's. Plain JSON, as nearly all replies are, is read without kombu's message around it.

    Raises:
        JUNK: where it is no message of kombu's.
    """

    def __init__(self, raw: bytes, channel: Any) -> None:
        envelope = loads(raw)
        self.headers: object = envelope["headers"]
        self.content_type: object = envelope["content-type"]
        self._plain = _plain(envelope)
        self._message: Any = None if self._plain is not None else channel.Message(envelope, channel=channel)

    @property
    def body(self) -> object:
        """What it says, not yet decoded."""
        return self._message.body if self._plain is None else self._plain

    def decode(self) -> Any:
        """What it says, each text of it as it can be shown.

        Raises:
            JUNK: where it is not JSON.
        """
        if self._plain is not None:
            try:
                return loads(self._plain)
            except (ValueError, RecursionError) as fault:
                raise DecodeError(str(fault)) from fault
        self._message.accept = prepare_accept_content(["json"])
        return readable(self._message.decode())


def _plain(envelope: dict[str, Any]) -> bytes | None:
    """The JSON in a reply, None where it takes kombu to read it."""
    kind = envelope["content-type"], envelope["content-encoding"], envelope["properties"].get("body_encoding")
    if kind != ("application/json", "utf-8", "base64") or "compression" in envelope["headers"]:
        return None
    body = b64decode(envelope["body"])
    return None if _TYPED in body else body


class WaitingReplies:
    """Takes many replies at once, as long as the server allows it; one for each connection's life."""

    def __init__(self) -> None:
        self._allowed = True

    def take(
        self,
        channel: Any,
        queues: Iterable[str],
        expected: int,
        take: Callable[[Reply], None],
        junk: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """Give ``take`` each reply that waits in ``queues`` now, where many are ``expected``.

        ``channel`` is kombu's, of the Redis transport. What is no message of kombu's is left out, and
        ``junk`` is called with why.
        """
        if expected < MANY or not self._allowed:
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
                        reply = Reply(raw, channel)
                    except JUNK as fault:
                        junk(fault)
                        continue
                    take(reply)
