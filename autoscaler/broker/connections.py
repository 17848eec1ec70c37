"""How to reach Redis: one URL, its options, and clients with bounded timeouts.

``redis://``, ``rediss://``, ``valkey://``, ``valkeys://`` and ``sentinel://`` are understood. TLS checks the
server's certificate unless told otherwise; kombu on its own would not (``CERT_NONE``), so both clients are
built from the same parsed value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import kombu
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "sentinel": "sentinel",
}
_LEGAL = "use redis://, rediss:// (TLS), valkey:// or sentinel:// with HOST:PORT/DB"
_REFUSED = {
    "http": "the service speaks the Redis protocol, not a REST API",
    "https": "the service speaks the Redis protocol, not a REST API",
    "unix": "a socket file does not cross container borders",
    "redis+socket": "a socket file does not cross container borders",
    "redis+cluster": "Celery has no cluster transport",
}
_CERT_REQS = ("required", "optional", "none")
_TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_MAX_DBS = 1_000_000


class RedisUrlError(ValueError):
    """A Redis URL that cannot be used; the message never shows its password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A parsed Redis URL. ``str()`` gives it without its password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: dict[str, str] = field(default_factory=dict)
    sentinel_master: str | None = None

    def __str__(self) -> str:
        user = quote(self.username or "", safe="")
        login = f"{user}:***@" if self.password is not None else f"{user}@" if user else ""
        hosts = ",".join(_host_port(host, port) for host, port in self.hosts)
        return f"{self.scheme}://{login}{hosts}/{self.db}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every spelling of the password that may turn up in a text."""
        if not self.password:
            return ()
        return tuple(
            {self.password, quote(self.password, safe=""), quote(self.password), repr(self.password)[1:-1]}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTuning:
    """How connections behave. Times are seconds."""

    max_connections: int = 10
    socket_timeout_seconds: float = 3.0
    connect_timeout_seconds: float = 2.0
    health_check_interval_seconds: float = 25.0
    client_name: str = "autoscaler"


def parse_redis_url(text: str) -> RedisUrl:
    """Parse ``SCHEME://[USER][:PASSWORD]@HOST[:PORT][/DB][?ssl_...]``.

    For Sentinel, hosts are parted by a comma (or as kombu has it, by ``;sentinel://``, each with the login
    again) and the master's name is the option ``master``. Its connections bear no TLS.

    Raises:
        RedisUrlError: in one line, without the password.
    """
    scheme, found, rest = text.strip().partition("://")
    scheme = scheme.lower()
    if not found or scheme not in _SCHEMES:
        raise RedisUrlError(f"Redis URL: {_why_refused(scheme) if found else 'no scheme found'}; {_LEGAL}")
    real = _SCHEMES[scheme]
    login, host_part, tail = _split_sentinels(rest) if real == "sentinel" else _split(rest)
    options = _parse_options(tail)
    username, colon, password = login.partition(":")
    if username and not colon:
        # Redis takes a user only with a password, and a lone word is most often the password.
        raise RedisUrlError("Redis URL: its login has no ':'; write :PASSWORD@ or USER:PASSWORD@")
    master = options.pop("master", None)
    if (master is not None) != (real == "sentinel"):
        raise RedisUrlError("Redis URL: the option 'master' names the master of sentinel://, and only there")
    if options and real != "rediss":
        raise RedisUrlError(f"Redis URL: option {min(options)!r} needs TLS; use rediss://")
    hosts = tuple(_parse_hosts(host_part, 26379 if real == "sentinel" else 6379))
    if len(hosts) > 1 and real != "sentinel":
        raise RedisUrlError(f"Redis URL: {len(hosts)} hosts found; give one, or sentinel:// for failover")
    return RedisUrl(
        scheme=real,
        hosts=hosts,
        db=_parse_db(tail),
        username=unquote(username) or None,
        password=unquote(password) if colon else None,
        tls=_tls(options) if real == "rediss" else {},
        sentinel_master=master,
    )


def _why_refused(scheme: str) -> str:
    if scheme in _REFUSED:
        return f"scheme {scheme!r} is refused: {_REFUSED[scheme]}"
    # Without a scheme, what stands before '://' may be a part of the password.
    return f"scheme {scheme!r} is not known" if re.fullmatch(r"[a-z+]{1,20}", scheme) else "no scheme found"


def _split(rest: str) -> tuple[str, str, str]:
    """Login, hosts and what follows them."""
    # A raw '/' or '?' in a password is a common slip; the last '@' ends the login.
    login, _, after = rest.rpartition("@")
    end = re.search(r"[/?#]", after)
    cut = end.start() if end else len(after)
    return login, after[:cut], after[cut:]


def _split_sentinels(rest: str) -> tuple[str, str, str]:
    """The same where kombu's way, with login and database again for each host, is legal too."""
    logins, hosts, tails = zip(*map(_split, rest.split(";sentinel://")), strict=True)
    if len({login for login in logins if login}) > 1:
        raise RedisUrlError("Redis URL: the hosts of sentinel:// bear different logins; the master has one")
    return max(logins, key=len), ",".join(hosts), max(tails, key=len)


def _parse_hosts(text: str, default_port: int) -> Iterable[tuple[str, int]]:
    for part in re.split(r"[,;]", text):
        try:
            pieces = urlsplit(f"//{part}")
            host, port = pieces.hostname, pieces.port
            (host or "").encode("idna")  # what a connection does; it would raise no OSError then
        except ValueError as fault:
            raise RedisUrlError("Redis URL: its host or port cannot be read; write HOST:PORT") from fault
        if not host:
            raise RedisUrlError(f"Redis URL: no host found; {_LEGAL}")
        yield host, port or default_port


def _parse_db(tail: str) -> int:
    path = re.split(r"[?#]", tail)[0].strip("/")
    if not path:
        return 0
    if not re.fullmatch(r"[0-9]{1,6}", path) or int(path) >= _MAX_DBS:
        raise RedisUrlError(
            f"Redis URL: database {path[:20]!r} is not a number from 0 up, as in redis://HOST:6379/0"
        )
    return int(path)


def _parse_options(tail: str) -> dict[str, str]:
    _, _, query = tail.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - {*_TLS_OPTIONS, "master"})
    if unknown:
        legal = ", ".join((*_TLS_OPTIONS, "master"))
        raise RedisUrlError(f"Redis URL: option {unknown[0][:40]!r} is not known; legal are {legal}")
    return options


def _tls(options: dict[str, str]) -> dict[str, str]:
    # celery writes CERT_REQUIRED, redis-py 'required': both are understood, one is kept.
    wanted = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in _CERT_REQS:
        raise RedisUrlError(f"Redis URL: ssl_cert_reqs is {wanted[:20]!r}; legal are {', '.join(_CERT_REQS)}")
    return {**options, "ssl_cert_reqs": wanted}


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def redis_client(url: RedisUrl, tuning: RedisTuning) -> redis.Redis:
    """A client that fails within its timeouts and never retries on its own: the tick does."""
    options: dict[str, Any] = {
        "db": url.db,
        "username": url.username,
        "password": url.password,
        "socket_timeout": tuning.socket_timeout_seconds,
        "socket_connect_timeout": tuning.connect_timeout_seconds,
        "health_check_interval": tuning.health_check_interval_seconds,
        "client_name": tuning.client_name,
        "max_connections": tuning.max_connections,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.sentinel_master is not None:
        watch = _sentinel_arguments(tuning)
        sentinel: Any = Sentinel(list(url.hosts), sentinel_kwargs=watch)  # type: ignore[no-untyped-call]
        client: redis.Redis = sentinel.master_for(url.sentinel_master, **options)
        return client
    if url.scheme == "rediss":
        options |= {"ssl": True, **_tls_arguments(url)}
    host, port = url.hosts[0]
    return redis.Redis(host=host, port=port, **options)


def kombu_options(url: RedisUrl, tuning: RedisTuning, global_keyprefix: str) -> dict[str, Any]:
    """Keyword arguments for :class:`kombu.Connection` that reach the same server, bounded in time."""
    login = ""
    if url.username or url.password is not None:
        login = f"{quote(url.username or '', safe='')}:{quote(url.password or '', safe='')}@"
    scheme = "sentinel" if url.scheme == "sentinel" else "redis"
    broker = ";".join(f"{scheme}://{login}{_host_port(host, port)}/{url.db}" for host, port in url.hosts)
    transport_options = {
        "socket_timeout": tuning.socket_timeout_seconds,
        "socket_connect_timeout": tuning.connect_timeout_seconds,
        "client_name": tuning.client_name,
        "global_keyprefix": global_keyprefix,
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0,
    }
    if url.sentinel_master is not None:
        transport_options["master_name"] = url.sentinel_master
        transport_options["sentinel_kwargs"] = _sentinel_arguments(tuning)
    options: dict[str, Any] = {
        "hostname": broker,
        "connect_timeout": tuning.connect_timeout_seconds,
        "transport_options": transport_options,
    }
    if url.scheme == "rediss":
        options["ssl"] = _tls_arguments(url)
    return options


def _sentinel_arguments(tuning: RedisTuning) -> dict[str, Any]:
    # Without a word on it a Sentinel that is silent would be asked four times.
    return {
        "socket_timeout": tuning.socket_timeout_seconds,
        "socket_connect_timeout": tuning.connect_timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }


def _tls_arguments(url: RedisUrl) -> dict[str, Any]:
    return {**url.tls, "ssl_check_hostname": url.tls["ssl_cert_reqs"] == "required"}


class Redactor:
    """Takes secrets out of any text, whoever wrote it."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def add(self, secrets: Iterable[str]) -> None:
        """From now on none of ``secrets`` shows."""
        known = {*self._secrets, *(secret for secret in secrets if secret)}
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
    ) -> None:
        self._read_url = read_url
        self._tuning = tuning
        self._redactor = redactor
        self._global_keyprefix = global_keyprefix
        self._client: redis.Redis | None = None

    def url(self) -> RedisUrl:
        """The URL as it stands now.

        Raises:
            RedisUrlError: when it cannot be used.
        """
        url = parse_redis_url(self._read_url())
        self._redactor.add(url.secrets)
        return url

    def redis(self) -> redis.Redis:
        """The client, made at the first call and after each :meth:`reset`."""
        if self._client is None:
            self._client = redis_client(self.url(), self._tuning)
        return self._client

    def kombu(self) -> kombu.Connection:
        """A fresh kombu connection, which connects when it is used."""
        return kombu.Connection(**kombu_options(self.url(), self._tuning, self._global_keyprefix))

    def reset(self) -> None:
        """Drop the client after a fault, so that the next one starts from the URL as it stands then."""
        if self._client is not None:
            self._client.close()
            self._client = None
