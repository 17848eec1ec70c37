"""One exception for every fault of the broker, raised at the edges and caught by the callers.

What belongs here: turning what sockets, redis-py, kombu and an unusable URL raise into :class:`BrokerError`
with one short line and, where the cause is known, what to do. What may never enter: a password, or a text of
unbounded length. The original exception stays as ``__cause__``.
"""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kombu.exceptions import KombuError
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    RedisError,
)
from redis.sentinel import MasterNotFoundError, SlaveNotFoundError

from autoscaler.broker.advice import known_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a node of a Redis Cluster answers to a client that knows nothing of clusters.
CLUSTER_ERRORS = (AskError, ClusterCrossSlotError, ClusterDownError, MovedError)
_MAX_CHARACTERS = 300
#: Between ``://`` and the last ``@`` before a space is a login; another may stand among a URL's options.
_LOGIN = re.compile(r"://[^\s]*@")
_OPTION = re.compile(r"([?&](?:\w+_)?password=)[^&\s]+")
#: Where in which script of kombu's a server refused something is nobody's concern.
_SCRIPT = re.compile(r" script: ([0-9a-f]+, )?on @user_script:\d+\.")


class BrokerError(Exception):
    """The broker could not be reached, refused, or is not what its URL says. One line, without secrets.

    ``advice`` says what to do about it, or is empty. It is ``permanent`` where it does not end by waiting:
    somebody has to change the URL, or a right.
    """

    permanent = False

    def __init__(self, message: str, advice: str = "", *, permanent: bool = False) -> None:
        super().__init__(message)
        self.advice = advice
        if permanent:
            self.permanent = True

    def with_advice(self) -> str:
        """The fault and what to do about it, in one line."""
        return joined(str(self), self.advice)


def joined(message: str, advice: str) -> str:
    """A message and what to do about it in one line; a message of others may end with a full stop.

    The stop stays: it may belong to a secret that a redactor has yet to find.
    """
    if not advice:
        return message
    return (
        f"{message} {advice[0].upper()}{advice[1:]}"
        if message.endswith((".", "?"))
        else f"{message}; {advice}"
    )


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise whatever the broker's clients raise within as a :class:`BrokerError`."""
    try:
        yield
    except BrokerError:
        raise
    except (OSError, RedisError, KombuError) as fault:
        raise describe(fault) from fault


def describe(fault: Exception) -> BrokerError:
    """The broker error for what a client raised."""
    chain = tuple(_chain(fault))
    certificate = next((one for one in chain if isinstance(one, ssl.SSLCertVerificationError)), None)
    text = str(fault)
    if certificate is not None:
        return BrokerError(
            f"TLS: the server's certificate is refused: {_reason(certificate)}",
            _tls_advice(certificate),
            permanent=True,
        )
    # A server without TLS waits for the rest of a handshake: that is the socket's timeout, not one of ssl's.
    if any(isinstance(one, ssl.SSLError) or "handshake" in str(one) for one in chain) or "SSL" in text:
        return BrokerError(
            f"TLS: the handshake failed: {one_line(text)}",
            "rediss:// needs a port that speaks TLS, redis:// one that does not",
        )
    if any(isinstance(one, MasterNotFoundError | SlaveNotFoundError) for one in chain):
        return _sentinel_error(text)
    # A replica without its primary is one of the cluster's errors to redis-py alone.
    if any(isinstance(one, CLUSTER_ERRORS) and not isinstance(one, MasterDownError) for one in chain):
        return BrokerError(
            "the server is a node of a Redis Cluster, which Celery cannot use as a broker",
            "give the URL of a single server, or of sentinel:// for failover",
            permanent=True,
        )
    known = known_fault(chain, text)
    said = f"{type(fault).__name__}: {one_line(text)}"
    if known is None:
        return BrokerError(said)
    if known.explained:
        said = f"{said.partition('. ')[0]}."
    return BrokerError(said, known.advice, permanent=known.permanent)


def one_line(text: str) -> str:
    """``text`` as one short line in which no URL shows its login."""
    # redis-py repeats the whole command with its values in front of what went wrong in a pipeline.
    text = _SCRIPT.sub("", text.rpartition(" of pipeline caused error: ")[2])
    # Other spaces stay as they are: a secret that holds one must still be found by a redactor.
    text = re.sub(r"[\r\n]+", " ", _OPTION.sub(r"\1***", _LOGIN.sub("://***@", text))).strip()
    if len(text) <= _MAX_CHARACTERS:
        return text
    # Whole words only: of a secret cut in two a redactor would not know the rest.
    return f"{text[:_MAX_CHARACTERS].rpartition(' ')[0]} ..."


def _chain(fault: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = fault
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        # redis-py keeps the socket's own error as context or as an argument only.
        inner = next((part for part in one.args if isinstance(part, BaseException)), None)
        one = one.__cause__ or one.__context__ or inner


def _reason(certificate: ssl.SSLCertVerificationError) -> str:
    return one_line(certificate.verify_message or str(certificate)).rstrip(".")


def _tls_advice(certificate: ssl.SSLCertVerificationError) -> str:
    if "expired" in _reason(certificate):
        return "renew the server's certificate, and check this machine's clock"
    if "match" in _reason(certificate).lower():
        return "connect by the name that the certificate was issued for"
    return "give the file of the authority that signed it: rediss://...?ssl_ca_certs=/path/ca.pem"


def _sentinel_error(text: str) -> BrokerError:
    named = re.match(r"No (?:master|slave) found for '([^']{1,100})'", text)
    master = f" {named[1]!r}" if named else ""
    if "AuthenticationError" in text or "NOAUTH" in text or "WRONGPASS" in text:
        return BrokerError(
            f"Sentinel: it refuses the login, so the master{master} is not known",
            "give the Sentinels' own login in the URL: sentinel://...?master=NAME&sentinel_password=PASSWORD,"
            " and sentinel_username=USER where they have users",
            permanent=True,
        )
    if "ConnectionError" in text or "TimeoutError" in text:
        return BrokerError(
            f"Sentinel: none of the Sentinels answers, so the master{master} is not known",
            "are the addresses of the Sentinels right, and are they up?",
        )
    return BrokerError(
        f"Sentinel: the Sentinels know no reachable master{master}",
        "is the option master= the name that the Sentinels monitor, and is that server up?",
    )
