"""What to do about the faults of a server that are known: one table, looked up by an exception's chain.

A fault is known by the class of an exception, or by words of the server's answer: kombu and servers before
Redis 7 keep the words alone, and some answers have no class of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A known fault and what to do; it is ``permanent`` where it does not end by waiting.

    ``explained`` is whether the server's answer has more sentences, on options that are not for everybody.
    """

    advice: str
    kinds: tuple[type[Exception], ...] = ()
    words: tuple[str, ...] = ()
    permanent: bool = False
    explained: bool = False

    def matches(self, chain: Sequence[BaseException], text: str) -> bool:
        """Whether this is it."""
        return any(isinstance(one, self.kinds) for one in chain) or any(word in text for word in self.words)


#: The first that matches counts.
_TABLE = (
    Known(
        kinds=(NoPermissionError,),
        advice="the Redis user lacks this right; grant it with ACL SETUSER",
        permanent=True,
    ),
    Known(
        words=("without any password configured", "but no password is set"),
        advice="the server has no password: take it out of the URL",
        permanent=True,
    ),
    Known(
        words=("Authentication required", "NOAUTH"),
        advice="the server wants a login: give it in the URL, as USER:PASSWORD@HOST or :PASSWORD@HOST",
        permanent=True,
    ),
    Known(
        kinds=(AuthenticationError,),
        words=("WRONGPASS", "invalid username-password pair"),
        advice="correct USER:PASSWORD@HOST in the URL; special characters in it are written as %40 for @",
        permanent=True,
    ),
    Known(
        kinds=(MasterDownError,),
        words=("MASTERDOWN", "Link with MASTER is down"),
        advice="the server is a replica without its primary; point the URL at the primary",
    ),
    Known(
        kinds=(ReadOnlyError,),
        words=("against a read only replica",),
        advice="the server is a replica; point the URL at the primary",
    ),
    Known(
        kinds=(OutOfMemoryError,),
        words=("when used memory > 'maxmemory'",),
        advice="the server is full: raise its maxmemory, or delete a queue that nobody needs",
    ),
    Known(
        kinds=(BusyLoadingError,),
        words=("loading the dataset in memory",),
        advice="the server has just started; it answers once its data are loaded",
    ),
    Known(
        words=("MISCONF",),
        advice="the server cannot save its data and takes no writes: its log says why; is its disk full?",
        explained=True,
    ),
    Known(
        words=("NOREPLICAS",),
        advice="the server takes no writes without its replicas (min-replicas-to-write): are they up?",
    ),
    Known(
        words=("max number of clients reached",),
        advice="raise the server's maxclients, or end clients that it does not need",
    ),
    Known(
        words=("DB index is out of range",),
        advice="give the number of Celery's database at the end of the URL; the server has no such database",
        permanent=True,
    ),
    Known(
        words=("DENIED",),
        advice="give the server a password and its URL here, or connect from its own host",
        permanent=True,
        explained=True,
    ),
    Known(
        words=("WRONGTYPE",),
        advice="a key that is needed here holds something of another program: redis-cli TYPE shows which;"
        " delete or rename it",
    ),
    Known(
        words=("is busy running a script",),
        advice="a client's script holds the server up: wait for it, or SCRIPT KILL",
    ),
    Known(
        kinds=(InvalidResponse,),
        words=("Protocol error, got",),
        advice="what answers there is no Redis server: are host and port of the URL right?",
    ),
    Known(
        kinds=(OSError,),
        words=("connect", "Connect"),
        advice="is this the URL of Celery's broker, and is the server up?",
    ),
)


def known_fault(chain: Sequence[BaseException], text: str) -> Known | None:
    """What is known of a fault with this chain of exceptions and this text, None where nothing is."""
    return next((one for one in _TABLE if one.matches(chain, text)), None)
