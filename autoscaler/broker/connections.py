"""Clients for Redis with bounded timeouts, built from one parsed URL, and what keeps its password secret.

TLS checks the server's certificate unless the URL says otherwise; kombu on its own would not (``CERT_NONE``),
so both clients are built from the same :class:`~autoscaler.broker.url.RedisUrl`. The grammar of the URL is in
:mod:`autoscaler.broker.url`. Nothing here decides when to connect again: the caller does.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import kombu
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from autoscaler.broker.errors import broker_errors
from autoscaler.broker.url import RedisUrl, host_port, parse_redis_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis import Redis

#: kombu's own ``sep`` between the parts of a binding, and between a queue and its priority.
DEFAULT_SEPARATOR = "\x06\x16"
#: kombu's fetch of a reply blocks for a second; a shorter socket timeout would end it.
_MIN_SOCKET_TIMEOUT_SECONDS = 1.5
#: No more databases of one server are looked at.
_MAX_DATABASES = 16
#: The tick has one connection, and what runs aside of it another.
_MIN_CONNECTIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTuning:
    """How connections behave. Times are seconds."""

    max_connections: int = 10
    socket_timeout_seconds: float = 3.0
    connect_timeout_seconds: float = 2.0
    health_check_interval_seconds: float = 25.0
    client_name: str = "autoscaler"
    keepalive: bool = False

    def narrowed_by(self, options: Mapping[str, float]) -> RedisTuning:
        """The same with what a URL sets. Its bounds may only narrow these: a tick must end in time."""
        read = max(_MIN_SOCKET_TIMEOUT_SECONDS, options.get("socket_timeout", math.inf))
        connect = options.get("socket_connect_timeout", math.inf) or math.inf
        return replace(
            self,
            socket_timeout_seconds=min(self.socket_timeout_seconds, read),
            connect_timeout_seconds=min(self.connect_timeout_seconds, connect),
            health_check_interval_seconds=options.get(
                "health_check_interval", self.health_check_interval_seconds
            ),
            keepalive=bool(options.get("socket_keepalive", self.keepalive)),
            max_connections=max(
                _MIN_CONNECTIONS, min(self.max_connections, int(options.get("max_connections") or 10**9))
            ),
        )


def client_options(url: RedisUrl, tuning: RedisTuning) -> dict[str, Any]:
    """What a redis-py client takes, synchronous or not: login, database, and times narrowed by the URL's own.

    The caller adds the host, TLS and how often to retry.
    """
    tuning = tuning.narrowed_by(url.options)
    return {
        "db": url.db,
        "username": url.username,
        "password": url.password,
        "socket_timeout": tuning.socket_timeout_seconds,
        "socket_connect_timeout": tuning.connect_timeout_seconds,
        "health_check_interval": tuning.health_check_interval_seconds,
        "socket_keepalive": tuning.keepalive,
        "client_name": tuning.client_name,
        "max_connections": tuning.max_connections,
    }


def sentinel_options(url: RedisUrl, tuning: RedisTuning) -> dict[str, Any]:
    """What a redis-py client of the Sentinels themselves takes; the caller adds that it never retries."""
    tuning = tuning.narrowed_by(url.options)
    return {
        **url.sentinel_login,
        "socket_timeout": tuning.socket_timeout_seconds,
        "socket_connect_timeout": tuning.connect_timeout_seconds,
    }


def tls_options(url: RedisUrl) -> dict[str, Any]:
    """What a redis-py client of a ``rediss`` URL takes for TLS, beside the choice to use it."""
    checks = url.tls["ssl_cert_reqs"] == "required" and bool(url.tls.get("ssl_check_hostname", "1"))
    return {**url.tls, "ssl_check_hostname": checks}


def redis_client(url: RedisUrl, tuning: RedisTuning) -> redis.Redis:
    """A client that fails within its timeouts and never retries on its own: the tick does."""
    options = client_options(url, tuning) | {"retry": Retry(NoBackoff(), 0)}
    if url.sentinel_master is not None:
        arguments = _sentinel_arguments(url, tuning)
        sentinel: Any = Sentinel(list(url.hosts), sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]
        client: redis.Redis = sentinel.master_for(url.sentinel_master, **options)
        return client
    if url.scheme == "rediss":
        options |= {"ssl": True, **tls_options(url)}
    host, port = url.hosts[0]
    return redis.Redis(host=host, port=port, **options)


def kombu_options(
    url: RedisUrl, tuning: RedisTuning, global_keyprefix: str, separator: str = DEFAULT_SEPARATOR
) -> dict[str, Any]:
    """Keyword arguments for :class:`kombu.Connection` that reach the same server, bounded in time.

    ``separator`` must be the workers' own ``sep``: a worker cannot read a reply binding written with another
    one, and while that is in place it fails at everybody's commands.
    """
    tuning = tuning.narrowed_by(url.options)
    login = ""
    if url.username or url.password is not None:
        login = f"{quote(url.username or '', safe='')}:{quote(url.password or '', safe='')}@"
    scheme = "sentinel" if url.scheme == "sentinel" else "redis"
    broker = ";".join(f"{scheme}://{login}{host_port(host, port)}/{url.db}" for host, port in url.hosts)
    transport_options = {
        "socket_timeout": tuning.socket_timeout_seconds,
        "socket_connect_timeout": tuning.connect_timeout_seconds,
        "client_name": tuning.client_name,
        "global_keyprefix": global_keyprefix,
        "sep": separator,
        "socket_keepalive": tuning.keepalive,
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0,
    }
    if url.sentinel_master is not None:
        transport_options["master_name"] = url.sentinel_master
        transport_options["sentinel_kwargs"] = _sentinel_arguments(url, tuning)
    options: dict[str, Any] = {
        "hostname": broker,
        "connect_timeout": tuning.connect_timeout_seconds,
        "transport_options": transport_options,
    }
    if url.scheme == "rediss":
        options["ssl"] = tls_options(url)
    return options


def _sentinel_arguments(url: RedisUrl, tuning: RedisTuning) -> dict[str, Any]:
    # By default an unresponsive Sentinel would be asked four times.
    return sentinel_options(url, tuning) | {"retry": Retry(NoBackoff(), 0)}


class Redactor:
    """Takes secrets out of any text, whoever wrote it."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def add(self, secrets: Iterable[str]) -> None:
        """From now on none of ``secrets`` shows."""
        known = {*self._secrets, *(secret for secret in secrets if secret)}
        # As it stands in a text that is JSON, with or without its letters beyond ASCII escaped.
        known |= {
            json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
            for secret in known
            for ascii_only in (True, False)
        }
        # The longest first: one secret may hold another.
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """``text`` with every known secret as ``***``."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class Connections:
    """The current URL and a client for it; the URL is read again after a fault.

    ``read_url`` returns the URL's text, from a setting or a file, so that a rotated password is found.
    """

    def __init__(
        self,
        read_url: Callable[[], str],
        tuning: RedisTuning,
        redactor: Redactor,
        *,
        global_keyprefix: str = "",
        separator: str = DEFAULT_SEPARATOR,
    ) -> None:
        self._read_url = read_url
        self._tuning = tuning
        self._redactor = redactor
        self._global_keyprefix = global_keyprefix
        self._separator = separator
        self._client: redis.Redis | None = None

    def url(self) -> RedisUrl:
        """The URL as it reads now.

        Raises:
            BrokerError: where its file cannot be read; RedisUrlError, a kind of it, where it cannot be used.
        """
        with broker_errors():
            url = parse_redis_url(self._read_url())
        self._redactor.add(url.secrets)
        return url

    def redis(self) -> redis.Redis:
        """The client, made at the first call and after each :meth:`reset`.

        Raises:
            BrokerError: where the URL cannot be used.
        """
        client = self._client
        if client is None:
            client = self._client = redis_client(self.url(), self._tuning)
        return client  # not the attribute: what runs aside of the tick may reset it meanwhile

    def other_databases(self, has: Callable[[Redis], bool]) -> list[int]:
        """The server's other databases for which ``has`` is true, of those that hold keys.

        Raises:
            BrokerError: when Redis fails, or the user has no right to look.
        """
        url = self.url()
        with broker_errors():
            keyspace: Any = self.redis().info("keyspace")
        numbers = sorted(int(name[2:]) for name in keyspace if re.fullmatch(r"db[0-9]{1,4}", str(name)))
        found = []
        for number in numbers[:_MAX_DATABASES]:
            if number != url.db:
                with redis_client(replace(url, db=number), self._tuning) as client:
                    found += [number] if has(client) else []
        return found

    def kombu(self) -> kombu.Connection:
        """A fresh kombu connection, which connects when it is used.

        Raises:
            BrokerError: where the URL cannot be used.
        """
        options = kombu_options(self.url(), self._tuning, self._global_keyprefix, self._separator)
        return kombu.Connection(**options)

    def use_separator(self, separator: str) -> None:
        """Write reply bindings with this ``sep`` from now on: the one that the workers were seen to use."""
        self._separator = separator

    def reset(self) -> None:
        """Drop the client after a fault, so that the next one starts from the URL as it reads then."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
