"""How much work waits: the queues of Celery's Redis transport, in one round trip.

A queue is one Redis list for each priority step; the first bears the queue's name, the others have the
separator and the step behind it (kombu, ``transport/redis.py``). An empty list is an absent key.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from autoscaler.core.model import QueueReading
from autoscaler.worker.published_at import oldest_age

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

#: The set in which kombu keeps the control mailboxes of workers; killed ones stay in it.
MAILBOXES_KEY = "_kombu.binding.celery.pidbox"
_MAILBOX_SUFFIX = ".celery.pidbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLayout:
    """How queue names become keys: kombu's ``global_keyprefix``, ``sep`` and ``priority_steps``."""

    prefix: str = ""
    separator: str = "\x06\x16"
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)

    def keys(self, queue: str) -> tuple[str, ...]:
        """The lists that make up ``queue``."""
        return tuple(
            f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"
            for step in self.priority_steps
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesReading:
    """What Redis told in one round trip.

    ``mailboxes`` names every worker whose mailbox is known, dead ones too. ``override`` is the text of the
    override key, or None. ``faults`` says why ``mailboxes`` or ``override`` is unknown, which is not the same
    as empty; a queue's fault is in its reading.
    """

    queues: tuple[QueueReading, ...]
    mailboxes: frozenset[str] = frozenset()
    override: str | None = None
    faults: Mapping[str, str] = field(default_factory=dict)


def parse_role(reply: object) -> str | None:
    """Why depths cannot be trusted, from the reply to ``ROLE``; None where this is the primary."""
    if isinstance(reply, Exception):
        return f"ROLE failed ({type(reply).__name__}); grant the user +role"
    role = reply[0] if isinstance(reply, list | tuple) and reply else None
    name = role.decode() if isinstance(role, bytes) else str(role)
    if name == "master":
        return None
    return f"the server is a {name}, whose counts lag silently; point the URL at the primary"


def parse_depth(queue: str, replies: Sequence[object], distrust: str | None) -> QueueReading:
    """One queue from the replies to LLEN of its steps."""
    if distrust is not None:
        return QueueReading(name=queue, waiting=None, error=distrust)
    for reply in replies:
        if isinstance(reply, Exception):
            what = (
                "WRONGTYPE: a key of this queue is no list" if _is_wrong_type(reply) else type(reply).__name__
            )
            return QueueReading(name=queue, waiting=None, error=what)
    return QueueReading(name=queue, waiting=sum(reply for reply in replies if isinstance(reply, int)))


def parse_mailbox(member: bytes) -> str | None:
    """The worker's name from a member of kombu's binding set, None where it is no worker's mailbox."""
    queue = member.split(b"\x06\x16")[-1].decode(errors="replace")
    return queue.removesuffix(_MAILBOX_SUFFIX) if queue.endswith(_MAILBOX_SUFFIX) else None


def _is_wrong_type(fault: Exception) -> bool:
    return isinstance(fault, ResponseError) and "WRONGTYPE" in str(fault)


class QueueSensor:
    """Reads queue depths, the server's role, the known mailboxes and the override key.

    With ``wall``, a clock of epoch seconds, it also reads the oldest message of each queue and its age,
    where its publisher has stamped it.
    """

    def __init__(
        self,
        redis: Callable[[], Redis],
        layout: KeyLayout,
        override_key: str,
        *,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self._redis = redis
        self._layout = layout
        self._override_key = override_key
        self._wall = wall

    def read(self, queues: Sequence[str]) -> QueuesReading:
        """One pipelined round trip.

        Raises:
            redis.RedisError: when the server cannot be reached; a fault of one key is in its reading.
        """
        pipeline = self._redis().pipeline(transaction=False)
        pipeline.role()
        pipeline.get(self._override_key)
        pipeline.smembers(f"{self._layout.prefix}{MAILBOXES_KEY}")
        steps = len(self._layout.priority_steps)
        for queue in queues:
            for key in self._layout.keys(queue):
                pipeline.llen(key)
        if self._wall is not None:
            for queue in queues:
                for key in self._layout.keys(queue):
                    pipeline.lindex(key, -1)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        _raise_if_none_answered(replies)
        role, override, members, *rest = replies
        depths, oldest = rest[: len(queues) * steps], rest[len(queues) * steps :]
        distrust = parse_role(role)
        readings = tuple(
            self._with_age(
                parse_depth(queue, depths[index * steps : (index + 1) * steps], distrust),
                oldest[index * steps : (index + 1) * steps],
            )
            for index, queue in enumerate(queues)
        )
        found = () if isinstance(members, Exception) else (parse_mailbox(member) for member in members)
        parts = {"override": override, "mailboxes": members}
        return QueuesReading(
            queues=readings,
            mailboxes=frozenset(name for name in found if name),
            override=override.decode(errors="replace") if isinstance(override, bytes) else None,
            faults={
                part: f"{type(reply).__name__}: {reply}"
                for part, reply in parts.items()
                if isinstance(reply, Exception)
            },
        )

    def _with_age(self, reading: QueueReading, oldest: Sequence[object]) -> QueueReading:
        if self._wall is None or reading.waiting is None:
            return reading
        messages = [message for message in oldest if isinstance(message, bytes)]
        return replace(reading, oldest_age_seconds=oldest_age(messages, self._wall()))


def _raise_if_none_answered(replies: Sequence[object]) -> None:
    # A server that refuses everything (password rotated, still loading) is a fault of the server.
    if replies and all(isinstance(reply, RedisError) for reply in replies):
        first = replies[0]
        assert isinstance(first, RedisError)  # noqa: S101 - for the type checker; checked in the line above
        raise first
