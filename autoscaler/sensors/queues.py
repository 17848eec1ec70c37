"""How much work waits: the queues of Celery's Redis transport, in one round trip.

A queue is one Redis list for each priority step; the first has the queue's name, the others have the
separator and the step behind it (kombu, ``transport/redis.py``). An empty list is an absent key. Where the
workers of a queue report their layout, that is followed, also when they are gone; the flags hold for workers
that report none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from autoscaler.broker.connections import DEFAULT_SEPARATOR
from autoscaler.broker.errors import CLUSTER_ERRORS, broker_errors
from autoscaler.broker.mailboxes import DEFAULT_EXCHANGE, mailboxes_key, read_mailboxes, separator_of
from autoscaler.core.model import QueueReading
from autoscaler.sensors.stamps import StampCheck
from autoscaler.sensors.strays import StrayLists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from autoscaler.core.model import WorkerLayout, WorkerReading


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLayout:
    """How queue names become keys: kombu's ``global_keyprefix``, ``sep`` and ``priority_steps``."""

    prefix: str = ""
    separator: str = DEFAULT_SEPARATOR
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)

    def keys(self, queue: str) -> tuple[str, ...]:
        """The lists that make up ``queue``."""
        return tuple(
            f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"
            for step in self.priority_steps
        )

    def reported_by(self, worker: WorkerLayout | None) -> KeyLayout:
        """This one with what a worker reports put over it."""
        if worker is None:
            return self
        return KeyLayout(
            prefix=self.prefix if worker.global_keyprefix is None else worker.global_keyprefix,
            separator=worker.separator or self.separator,
            priority_steps=worker.priority_steps or self.priority_steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesReading:
    """What Redis answered in one round trip.

    ``mailboxes`` names every worker whose mailbox is known, dead ones too. ``override`` is the text of the
    override key, or None. ``faults`` says why ``mailboxes`` or ``override`` is unknown, which is not the same
    as empty; a queue's fault is in its reading. ``separator`` is the workers' ``sep`` as their mailboxes show
    it, None where there are none.
    """

    queues: tuple[QueueReading, ...]
    mailboxes: frozenset[str] = frozenset()
    override: str | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None


def parse_role(reply: object) -> str | None:
    """Why depths cannot be trusted, from the reply to ``ROLE``; None where this is the primary."""
    if isinstance(reply, Exception):
        return f"ROLE failed ({type(reply).__name__}); grant the user +role"
    role = reply[0] if isinstance(reply, list | tuple) and reply else None
    name = role.decode() if isinstance(role, bytes) else str(role)
    if name == "master":
        return None
    return f"the server is a {name}, whose counts lag behind; point the URL at the primary"


def parse_depth(queue: str, replies: Sequence[object], distrust: str | None) -> QueueReading:
    """One queue from the replies to LLEN of its steps."""
    if distrust is not None:
        return QueueReading(name=queue, waiting=None, error=distrust)
    for reply in replies:
        if isinstance(reply, Exception):
            what = (
                "WRONGTYPE: a key of this queue is not a list"
                if _is_wrong_type(reply)
                else type(reply).__name__
            )
            return QueueReading(name=queue, waiting=None, error=what)
    counts = tuple(reply for reply in replies if isinstance(reply, int))
    return QueueReading(name=queue, waiting=sum(counts), waiting_by_step=counts)


def _is_wrong_type(fault: Exception) -> bool:
    return isinstance(fault, ResponseError) and "WRONGTYPE" in str(fault)


class QueueSensor:
    """Reads queue depths, the server's role, the known mailboxes and the override key.

    With ``wall``, a clock of epoch seconds, it also reads the oldest message of each queue and its age,
    where its publisher has stamped it. ``on_separator`` gets the workers' ``sep`` when it is seen.
    ``exchanges`` returns the control exchanges whose mailboxes are read.
    """

    def __init__(
        self,
        redis: Callable[[], Redis],
        layout: KeyLayout,
        override_key: str,
        *,
        wall: Callable[[], float] | None = None,
        on_separator: Callable[[str], None] = lambda _: None,
        exchanges: Callable[[], Sequence[str]] = lambda: (DEFAULT_EXCHANGE,),
    ) -> None:
        self._redis = redis
        self._layout = layout
        self._override_key = override_key
        self._wall = wall
        self._on_separator = on_separator
        self._exchanges = exchanges
        self._stamps = StampCheck()
        self._strays = StrayLists()
        #: The layouts of each queue as its workers last reported them.
        self._layouts: dict[str, tuple[KeyLayout, ...]] = {}

    def read(self, queues: Sequence[str], workers: Iterable[WorkerReading] = ()) -> QueuesReading:
        """One pipelined round trip; the layout of a queue is what those ``workers`` report that consume it.

        Raises:
            BrokerError: when the server cannot be reached; a fault of one key is in its reading.
        """
        keys, exchanges = self._keys(queues, workers), tuple(self._exchanges())
        strays = self._strays.due(queues, self._layouts, self._layout)
        replies = self._execute(keys, exchanges, [key for _, key in strays])
        self._strays.note(strays, replies[len(replies) - len(strays) :])
        role, override, *rest = replies
        members, rest = dict(zip(exchanges, rest, strict=False)), rest[len(exchanges) :]
        count = sum(map(len, keys))
        depths, rest = _split(rest[:count], keys), rest[count:]
        oldest = _split(rest if self._wall is not None else (), keys)
        distrust = parse_role(role)
        readings = tuple(
            self._complete(parse_depth(queue, found, distrust), ends)
            for queue, found, ends in zip(queues, depths, oldest, strict=True)
        )
        known = {exchange: found for exchange, found in members.items() if not isinstance(found, Exception)}
        if separator := separator_of(member for found in known.values() for member in found):
            self._on_separator(separator)
        failed = (found for found in members.values() if isinstance(found, Exception))
        ages = (
            end
            for reading, ends in zip(readings, oldest, strict=True)
            if reading.waiting is not None
            for end in ends
            if isinstance(end, Exception)
        )
        parts = {"override": override, "mailboxes": next(failed, None), "ages": next(ages, None)}
        names = (read_mailboxes(found, exchange) for exchange, found in known.items())
        return QueuesReading(
            queues=readings,
            mailboxes=frozenset().union(*names),
            override=override.decode(errors="replace") if isinstance(override, bytes) else None,
            faults={
                part: f"{type(reply).__name__}: {reply}"
                for part, reply in parts.items()
                if isinstance(reply, Exception)
            },
            separator=separator,
        )

    def _execute(
        self, keys: Sequence[tuple[str, ...]], exchanges: Sequence[str], strays: Sequence[str]
    ) -> list[Any]:
        """The replies: role, override, the members of each exchange, depths, oldest messages, strays."""
        pipeline = self._redis().pipeline(transaction=False)
        pipeline.role()
        pipeline.get(self._override_key)
        for exchange in exchanges:
            pipeline.smembers(f"{self._layout.prefix}{mailboxes_key(exchange)}")
        for key in (key for several in keys for key in several):
            pipeline.llen(key)
        if self._wall is not None:
            for key in (key for several in keys for key in several):
                pipeline.lindex(key, -1)
        for key in strays:
            pipeline.llen(key)
        with broker_errors():
            replies: list[Any] = pipeline.execute(raise_on_error=False)
            _raise_if_none_answered(replies)
        return replies

    def _keys(self, queues: Sequence[str], workers: Iterable[WorkerReading]) -> list[tuple[str, ...]]:
        """The lists of each queue; what is remembered of others is forgotten."""
        self._stamps.keep(queues)
        kept = {name: found for name, found in self._layouts.items() if name in queues}
        self._layouts = kept | layouts_of(workers, self._layout)
        return keys_of(queues, self._layouts, self._layout)

    def _complete(self, reading: QueueReading, oldest: Sequence[object]) -> QueueReading:
        """The reading with the age of its oldest message, and the lists that nobody reads."""
        reading = replace(reading, stray_lists=self._strays.of(reading.name))
        if self._wall is None or reading.waiting is None:
            return reading
        messages = [message for message in oldest if isinstance(message, bytes)]
        age, trusted = self._stamps.oldest_age(reading.name, reading.waiting, messages, self._wall())
        return replace(reading, oldest_age_seconds=age, stamps_trusted=trusted)


def layouts_of(workers: Iterable[WorkerReading], default: KeyLayout) -> dict[str, tuple[KeyLayout, ...]]:
    """The layouts that its workers report, by queue; ``default`` for a worker that reports none."""
    layouts: dict[str, dict[KeyLayout, None]] = {}
    for reading in workers:
        layout = default.reported_by(reading.layout)
        for queue in reading.queues:
            layouts.setdefault(queue, {})[layout] = None
    return {queue: tuple(found) for queue, found in layouts.items()}


def keys_of(
    queues: Sequence[str], layouts: Mapping[str, tuple[KeyLayout, ...]], default: KeyLayout
) -> list[tuple[str, ...]]:
    """The lists of each queue, by its layouts; ``default`` for a queue that has none."""
    return [
        tuple(dict.fromkeys(key for layout in layouts.get(queue, (default,)) for key in layout.keys(queue)))
        for queue in queues
    ]


def _split(replies: Sequence[object], keys: Sequence[tuple[str, ...]]) -> list[Sequence[object]]:
    found, start = [], 0
    for several in keys:
        found.append(replies[start : start + len(several)])
        start += len(several)
    return found


def _raise_if_none_answered(replies: Sequence[object]) -> None:
    cluster = next((reply for reply in replies if isinstance(reply, CLUSTER_ERRORS)), None)
    if cluster is not None:
        raise cluster
    # A server that refuses everything (password rotated, still loading) is a fault of the server.
    if replies and all(isinstance(reply, RedisError) for reply in replies):
        first = replies[0]
        assert isinstance(first, RedisError)  # noqa: S101 - for the type checker; checked in the line above
        raise first
