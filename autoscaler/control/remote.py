"""Celery's remote control with bounded time: commands to named workers, and what they answered.

kombu's own calls wait for ever: a mailbox publishes with endless retries, its timeout starts again with each
reply, and one reply that cannot be decoded ends the call for all. Here a call uses a connection and a reply
queue of its own, publishes each command once, ends at its deadline, and decodes each reply by itself. A
connection used again could still be waiting for the last call's replies and miss its own.

Beside ``ping``, no command is known by name here, no reply is interpreted, and nothing is ever unpickled.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from kombu import Consumer, Producer
from kombu.pidbox import Mailbox
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.control.addresses import DEFAULT_PREFIX, Addresses
from autoscaler.control.waiting_replies import JUNK, Reply, WaitingReplies
from autoscaler.core.foreign_json import readable, spellings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from kombu import Connection, Queue
    from kombu.message import Message

    from autoscaler.control.addresses import Address

#: A reply is waited for by a blocking read of 1 s; a shorter deadline would cut it short.
MIN_TIMEOUT_SECONDS = 1.0
#: Where kombu fails so often in one call, it is not for single messages.
_MAX_JUNK = 1000
_FLOOD = (
    f"more than {_MAX_JUNK} messages in a reply queue are no replies; who else writes to *.reply.*.pidbox?"
)
#: In a reply that cannot be decoded the worker's name is looked for no further than this.
_SEARCHED_BYTES = 4096

#: The replies to one command by worker; more than one where workers share a name.
Replies = dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCommand:
    """One remote-control command and the workers it goes to; to everyone where ``workers`` is None.

    ``expected`` are names that may be found in a reply that cannot be decoded, beside ``workers``. With an
    ``address`` it goes there alone, and nowhere where this user may not publish there.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    workers: tuple[str, ...] | None
    expected: tuple[str, ...] = ()
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class UnreadableReply:
    """Stands for a reply that is not JSON; ``content_type`` is what it is instead."""

    content_type: str

    def __str__(self) -> str:
        return f"its reply is {self.content_type}, which is not read; set task_serializer='json' there"


class RemoteCall(Protocol):
    """One remote-control command to named workers, with bounded time."""

    def call(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> Replies:
        """The replies by worker; one that is missing did not answer."""


class RemoteCalls(Protocol):
    """Several remote-control commands at once, with bounded time for all of them together."""

    def call_all(self, commands: Sequence[RemoteCommand]) -> list[Replies]:
        """The replies to each command, in the order of the commands."""


class RemoteCast(Protocol):
    """One remote-control command to named workers that is not answered."""

    def cast(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> None:
        """Send it."""


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


class _Collector:
    """Sorts replies by the command they answer, until every expected one is there."""

    def __init__(self, commands: Sequence[RemoteCommand]) -> None:
        self._tickets = [uuid4().hex for _ in commands]
        self.replies: list[Replies] = [{} for _ in commands]
        self._by_ticket = dict(zip(self._tickets, self.replies, strict=True))
        names = (command.workers or command.expected for command in commands)
        self._names = dict(zip(self._tickets, names, strict=True))
        self._missing = {
            (ticket, worker)
            for ticket, command in zip(self._tickets, commands, strict=True)
            for worker in command.workers or ()
        }
        self._broadcasts = any(command.workers is None for command in commands)

    @property
    def tickets(self) -> list[str]:
        """One for each command."""
        return self._tickets

    @property
    def complete(self) -> bool:
        """Whether every worker that was asked has answered each command; never where everyone was asked."""
        return not self._broadcasts and not self._missing

    @property
    def outstanding(self) -> int:
        """How many replies are still to come, as far as is known."""
        return len(self._missing) or sum(len(names) for names in self._names.values())

    def take(self, message: Message | Reply) -> None:
        """Put one reply where it belongs."""
        headers = message.headers
        ticket = str(headers.get("ticket")) if isinstance(headers, dict) else ""
        replies = self._by_ticket.get(ticket)
        if replies is None:
            return
        try:
            body = message.decode() if isinstance(message, Reply) else readable(message.decode())
        except JUNK:
            name = _name_in(message.body, self._names[ticket])
            body = {} if name is None else {name: UnreadableReply(readable(str(message.content_type))[:60])}
        if isinstance(body, dict):
            for worker, reply in body.items():
                replies.setdefault(str(worker), []).append(reply)
                self._missing.discard((ticket, str(worker)))


def _name_in(body: object, names: Sequence[str]) -> str | None:
    """Which of these workers sent an undecoded reply: its name is the first thing in any serialization."""
    raw = body.encode(errors="replace") if isinstance(body, str) else body if isinstance(body, bytes) else b""
    raw = raw[:_SEARCHED_BYTES]
    found = {name: at for name in names if (at := raw.find(name.encode())) >= 0}
    return min(found, key=lambda name: (found[name], -len(name)), default=None)


class Remote:
    """Sends remote-control commands. ``connect`` returns a fresh connection, bounded in time.

    ``addresses`` are where they go; one for several is a command that is published several times, and each
    worker listens to one. ``on_junk`` is called with why a message in a reply queue is no reply.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        timeout_seconds: float,
        addresses: Addresses | None = None,
        on_junk: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._on_junk = on_junk
        self._waiting = WaitingReplies()
        self._timeout_seconds = max(MIN_TIMEOUT_SECONDS, timeout_seconds)
        self._addresses = Addresses() if addresses is None else addresses
        #: Addresses at which this user was found to have no right to publish.
        self.refused: set[Address] = set()

    def call(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> Replies:
        """Send ``command`` to ``workers`` and return their replies by name.

        It returns as soon as all have answered, or after the timeout with those that have. A name with more
        than one reply is a name that two workers share. A worker that is missing *may still do* what it was
        asked. A reply that is not JSON is an :class:`UnreadableReply`.

        Raises:
            BrokerError: when the broker cannot be reached or refuses.
        """
        return self.call_all([RemoteCommand(name=command, arguments=arguments, workers=tuple(workers))])[0]

    def roll_call(self, expected: Collection[str] = ()) -> Replies:
        """Everyone's replies to a broadcast ``ping``; takes the whole timeout.

        It reaches every worker that listens, whether or not it has a mailbox in kombu's set. ``expected`` are
        the names that are known already.

        Raises:
            BrokerError: when the broker cannot be reached or refuses.
        """
        return self.call_all([RemoteCommand(name="ping", workers=None, expected=tuple(expected))])[0]

    def call_all(self, commands: Sequence[RemoteCommand]) -> list[Replies]:
        """Send all commands, then collect all replies: one timeout for all of them together.

        Raises:
            BrokerError: when the broker cannot be reached or refuses; what was sent before may still happen.
        """
        sent = [command for command in commands if command.workers is None or command.workers]
        if not sent:
            return [{} for _ in commands]
        collector = _Collector(sent)
        with broker_errors(), self._connect() as connection:
            boxes = _Boxes(connection)
            places = [(self._addresses.current if one.address is None else (one.address,)) for one in sent]
            queues = boxes.reply_queues({address.exchange for several in places for address in several})
            with _deleted_at_the_end(connection.default_channel, queues):
                arrived: list[Message] = []
                consumer = Consumer(
                    connection.default_channel,
                    queues,
                    accept=["json"],
                    no_ack=True,
                    on_message=arrived.append,
                    on_decode_error=lambda message, _: arrived.append(message),
                )
                for command, several, ticket in zip(sent, places, collector.tickets, strict=True):
                    for address in several:
                        self._publish(boxes, command, address, ticket)
                with consumer:
                    self._drain(connection, collector, arrived, [queue.name for queue in queues])
        found = iter(collector.replies)
        return [next(found) if command.workers is None or command.workers else {} for command in commands]

    def _publish(self, boxes: _Boxes, command: RemoteCommand, address: Address, ticket: str) -> None:
        try:
            boxes.at(address)._publish(  # noqa: SLF001 - the only way to send without collecting at once
                command.name,
                dict(command.arguments),
                destination=None if command.workers is None else _destination(command.workers),
                reply_ticket=ticket,
                timeout=self._timeout_seconds,
            )
        except NoPermissionError:
            if command.address is None:
                raise
            self.refused.add(address)

    def _drain(
        self, connection: Connection, collector: _Collector, arrived: list[Message], queues: Sequence[str]
    ) -> None:
        """Collect what comes; kombu puts what it has read into ``arrived``."""
        deadline = time.monotonic() + self._timeout_seconds
        junk = 0
        while not collector.complete:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            try:
                connection.drain_events(timeout=remaining)
            except TimeoutError as fault:
                if fault.errno is not None:
                    raise  # the network's own, not the end of this wait
                return
            except JUNK as fault:
                junk += 1
                if junk > _MAX_JUNK:
                    raise BrokerError(_FLOOD) from fault
                self._on_junk(fault)
            while arrived:
                collector.take(arrived.pop(0))
            # kombu has no read of its own under way between two drains.
            self._waiting.take(
                connection.default_channel, queues, collector.outstanding, collector.take, self._on_junk
            )

    def cast(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> None:
        """Send ``command`` to ``workers`` and wait for no reply.

        Raises:
            BrokerError: when the broker cannot be reached or refuses.
        """
        with broker_errors(), self._connect() as connection:
            boxes = _Boxes(connection)
            for address in self._addresses.current:
                boxes.at(address).cast(_destination(workers), command, dict(arguments))


def _destination(workers: Iterable[str]) -> list[str]:
    """The names of these workers as they themselves may write them."""
    return [spelling for worker in workers for spelling in spellings(worker)]


@contextmanager
def _deleted_at_the_end(channel: Any, queues: Sequence[Queue]) -> Iterator[None]:
    """Delete the queues and their bindings, also where the server refuses something in between.

    Not over a connection that has failed: to connect again would cost more time.
    """
    try:
        yield
    except ResponseError:
        with suppress(RedisError):
            _delete(channel, queues)
        raise
    _delete(channel, queues)


def _delete(channel: Any, queues: Sequence[Queue]) -> None:
    for queue in queues:
        channel.after_reply_message_received(queue.name)


class _Boxes:
    """The mailboxes of one connection, by exchange, with one id for the replies to all of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._own_prefix: str = connection.default_channel.keyprefix_fanout
        self._oid = uuid4().hex
        self._boxes: dict[str, _PrivateMailbox] = {}

    def at(self, address: Address) -> _PrivateMailbox:
        """The mailbox of an address, whose prefix is in use until the next call of this."""
        channel, prefix = self._connection.default_channel, self._own_prefix
        if address.prefix != DEFAULT_PREFIX:
            prefix = address.prefix.format(db=str(self._connection.virtual_host or "0").strip("/"))
        channel.keyprefix_fanout = prefix
        channel.sentinel_fanout_compat = address.legacy  # what is not Sentinel does not look at it
        return self._box(address.exchange)

    def reply_queues(self, exchanges: Collection[str]) -> list[Queue]:
        """The queues of the replies to commands of these exchanges."""
        return [self._box(exchange).reply_queue for exchange in sorted(exchanges)]

    def _box(self, exchange: str) -> _PrivateMailbox:
        if exchange not in self._boxes:
            mailbox = self._boxes[exchange] = _PrivateMailbox(
                exchange,
                type="fanout",
                connection=self._connection,
                accept=["json"],
                serializer="json",
                producer_pool=_Publishers(self._connection),
            )
            mailbox.oid = self._oid
        return self._boxes[exchange]
