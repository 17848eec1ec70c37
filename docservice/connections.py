"""One ``REDIS_URL`` and one ``DATABASE_URL``: checked before anything connects, and never printed.

Messages name the variable and what is wrong with it. They never hold the address itself: a mistyped password
may stand in any part of it.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_REDIS_SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_REST = "; that is a REST address: Celery and this service need the TCP address of the same server"
_HINTS = {"http": _REST, "https": _REST, "unix": "; use TCP on loopback instead of a socket file"}
_DATABASE_SCHEMES = ("postgresql", "postgres")
_DATABASE_OPTIONS = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "target_session_attrs"}
)
_CERTIFICATES = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_TLS_OPTIONS = frozenset({"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


class AddressError(ValueError):
    """An address that cannot be used; the message does not hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where Redis is and how to speak to it. ``password`` is never shown."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: Mapping[str, str] | None  # None: plain TCP

    def __repr__(self) -> str:
        return f"RedisAddress({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address without what must stay secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'redis' if self.tls is None else 'rediss'}://{host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTuning:
    """How connections to Redis behave."""

    max_connections: int
    socket_timeout_seconds: float
    connect_timeout_seconds: float
    health_check_seconds: int
    client_name: str


def redis_address(url: str) -> RedisAddress:
    """The address that a ``REDIS_URL`` names.

    Raises:
        AddressError: with all that is legal, when it names none or has unknown options.
    """
    parts = _split(url, legal="redis://HOST:PORT/DB, or rediss:// for TLS")
    scheme = parts.scheme.lower()
    if scheme not in _REDIS_SCHEMES:
        hint = _HINTS.get(scheme, "")
        raise AddressError(f"the scheme must be {', '.join(_REDIS_SCHEMES)}{hint}")
    path = parts.path.strip("/")
    if path and not (path.isascii() and path.isdigit() and len(path) <= 4):  # noqa: PLR2004 - more than any
        raise AddressError("the path must be the number of a database, such as /0")
    tls = _options(parts, _TLS_OPTIONS if _REDIS_SCHEMES[scheme] else frozenset())
    if tls.get("ssl_cert_reqs", "required") not in _CERTIFICATES:
        raise AddressError(f"ssl_cert_reqs must be one of {', '.join(_CERTIFICATES)}")
    return RedisAddress(
        host=parts.hostname or "",
        port=parts.port or 6379,
        database=int(path or 0),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=tls if _REDIS_SCHEMES[scheme] else None,
    )


def check_database_url(url: str) -> str:
    """The same ``DATABASE_URL``, when it is one.

    Raises:
        AddressError: with all that is legal, when it names no database or has unknown options.
    """
    parts = _split(url, legal="postgresql://USER@HOST:PORT/DATABASE")
    if parts.scheme.lower() not in _DATABASE_SCHEMES:
        raise AddressError(f"the scheme must be {' or '.join(_DATABASE_SCHEMES)}")
    if not parts.path.strip("/"):
        raise AddressError("it must end in the name of a database, such as /documents")
    _options(parts, _DATABASE_OPTIONS)
    return url


def _split(url: str, *, legal: str) -> SplitResult:
    if "#" in url:
        raise AddressError("it has a '#'; write %23 where the password holds one")
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        raise AddressError(f"it is malformed (a wrong port or bracket); write {legal}") from fault
    if not parts.scheme or "://" not in url:
        raise AddressError(f"it has no scheme; write {legal}")
    # Other schemes are told that they are wrong, not that they lack a host.
    if not host and parts.scheme.lower() in (*_REDIS_SCHEMES, *_DATABASE_SCHEMES):
        raise AddressError(f"it names no host; write {legal}")
    return parts


def _options(parts: SplitResult, legal: frozenset[str]) -> dict[str, str]:
    try:
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as fault:
        raise AddressError("what follows the '?' is malformed; write ?option=value&option=value") from fault
    if set(options) - legal:
        known = f"there are {', '.join(sorted(legal))}" if legal else "there are none without TLS"
        raise AddressError(f"it has an unknown option behind the '?'; {known}")
    return options


Hook = Callable[[Any], Awaitable[None]]


def redis_client(
    address: RedisAddress, tuning: RedisTuning, *, on_connect: Hook | None = None
) -> redis.asyncio.Redis:
    """A client with a pool of its own; ``on_connect`` is awaited for every new connection."""
    more: dict[str, Any] = {} if on_connect is None else {"redis_connect_func": on_connect}
    if address.tls is not None:
        more |= {"connection_class": redis.asyncio.SSLConnection, "ssl_cert_reqs": "required", **address.tls}
        more["ssl_check_hostname"] = more["ssl_cert_reqs"] == "required"
    pool: redis.asyncio.ConnectionPool = redis.asyncio.BlockingConnectionPool(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password,
        max_connections=tuning.max_connections,
        timeout=tuning.socket_timeout_seconds,
        socket_timeout=tuning.socket_timeout_seconds,
        socket_connect_timeout=tuning.connect_timeout_seconds,
        health_check_interval=tuning.health_check_seconds,
        client_name=tuning.client_name,
        # Once more on a fresh connection: a pooled one may have ended with a restarted server.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.asyncio.ConnectionError,)),
        **more,
    )
    return redis.asyncio.Redis.from_pool(pool)


def redis_reader(client: redis.asyncio.Redis) -> redis.asyncio.Redis:
    """A client that keeps one connection of another's pool: to take one each time costs as much as to ask."""
    return redis.asyncio.Redis(connection_pool=client.connection_pool, single_connection_client=True)


def broker_options(address: RedisAddress, tuning: RedisTuning) -> dict[str, Any]:
    """The settings that make a Celery application speak to the same Redis, in bounded time."""
    scheme = "redis" if address.tls is None else "rediss"
    host = f"[{address.host}]" if ":" in address.host else address.host
    options: dict[str, Any] = {
        "broker_url": f"{scheme}://{_credentials(address)}{host}:{address.port}/{address.database}",
        "broker_transport_options": {
            "socket_timeout": max(tuning.socket_timeout_seconds, 1.5),  # kombu's BRPOP blocks for a second
            "socket_connect_timeout": tuning.connect_timeout_seconds,
            "health_check_interval": tuning.health_check_seconds,
            "max_connections": tuning.max_connections,
            "client_name": tuning.client_name,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
        },
    }
    if address.tls is not None:
        # kombu takes rediss:// without this as "do not check certificates".
        tls = {"ssl_cert_reqs": "required", **address.tls}
        options["broker_use_ssl"] = {**tls, "ssl_cert_reqs": _CERTIFICATES[tls["ssl_cert_reqs"]]}
    return options


def _credentials(address: RedisAddress) -> str:
    if address.password is None and address.username is None:
        return ""
    return f"{quote(address.username or '', safe='')}:{quote(address.password or '', safe='')}@"


def sync_redis_client(address: RedisAddress, tuning: RedisTuning) -> redis.Redis:
    """A client for threads, for what the autoscaler's contract is read and written with."""
    more: dict[str, Any] = {}
    if address.tls is not None:
        more = {"ssl": True, "ssl_cert_reqs": "required", **address.tls}
        more["ssl_check_hostname"] = more["ssl_cert_reqs"] == "required"
    return redis.Redis(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password,
        socket_timeout=tuning.socket_timeout_seconds,
        socket_connect_timeout=tuning.connect_timeout_seconds,
        health_check_interval=tuning.health_check_seconds,
        client_name=tuning.client_name,
        **more,
    )
