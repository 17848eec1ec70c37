"""The grammar of a Redis URL, and nothing else: no connection, no file, no environment.

``redis://``, ``rediss://``, ``valkey://``, ``valkeys://`` and ``sentinel://`` are understood. TLS checks the
server's certificate unless the URL says otherwise. Options that other clients read from a shared URL
(``health_check_interval``, ``socket_timeout``, ...) never make it unusable: what applies here is kept, and
``ignored_options`` lists the rest. The Sentinels' own login is ``sentinel_username`` and
``sentinel_password``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from autoscaler.broker.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "sentinel": "sentinel",
}
_LEGAL = "use redis://, rediss:// (TLS), valkey:// or sentinel:// with HOST:PORT/DB"
_SOCKET = "a socket file does not cross container borders; let Redis listen on a port too"
_NO_REDIS = "the broker must be Redis or Valkey: queues and workers of others are not read"
_REFUSED = {
    "http": "the service speaks the Redis protocol, not a REST API",
    "https": "the service speaks the Redis protocol, not a REST API",
    "unix": _SOCKET,
    "redis+socket": _SOCKET,
    "amqp": _NO_REDIS,
    "amqps": _NO_REDIS,
    "pyamqp": _NO_REDIS,
    "sqs": _NO_REDIS,
    "redis+cluster": "Celery has no cluster transport",
    "redis-cluster": "Celery has no cluster transport",
}
_CERT_REQS = ("required", "optional", "none")
_TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
    }
)
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
#: Where Celery connects to when a URL names no host.
_DEFAULT_HOST = "127.0.0.1"
_MAX_DBS = 1_000_000
#: Options of redis-py and kombu that apply here too: times in seconds, a number, and a switch.
NUMERIC_OPTIONS = frozenset(
    {
        "socket_timeout",
        "socket_connect_timeout",
        "health_check_interval",
        "socket_keepalive",
        "max_connections",
    }
)
#: In these a raw '@' is the option's own, and does not end a login.
_MAY_HOLD_AT = frozenset({"client_name", "password", "username", *_TLS_OPTIONS, *_SENTINEL_OPTIONS})
_SWITCHES = {"true": "1", "yes": "1", "on": "1", "false": "0", "no": "0", "off": "0"}


class RedisUrlError(BrokerError, ValueError):
    """A Redis URL that cannot be used; the message never shows its password."""

    permanent = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A parsed Redis URL. ``str()`` gives it without its password.

    ``options`` has the times (seconds) and switches (0 or 1) of :data:`NUMERIC_OPTIONS` that the URL sets;
    ``ignored_options`` names those that have no meaning here. ``sentinel_login`` has what the Sentinels
    themselves are to be given of ``username`` and ``password``.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: dict[str, str] = field(default_factory=dict, repr=False)
    sentinel_master: str | None = None
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, float] = field(default_factory=dict)
    ignored_options: tuple[str, ...] = ()

    def __str__(self) -> str:
        user = quote(self.username or "", safe="")
        login = f"{user}:***@" if self.password is not None else f"{user}@" if user else ""
        hosts = ",".join(host_port(host, port) for host, port in self.hosts)
        return f"{self.scheme}://{login}{hosts}/{self.db}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every spelling of a password that may turn up in a text."""
        words = {self.password, self.sentinel_login.get("password"), self.tls.get("ssl_password")}
        return tuple(
            spelling
            for word in words
            if word
            for spelling in {word, quote(word, safe=""), quote(word), repr(word)[1:-1]}
        )


def parse_redis_url(text: str) -> RedisUrl:
    """Parse ``SCHEME://[USER][:PASSWORD]@HOST[:PORT][/DB][?OPTION=VALUE&...]``.

    For Sentinel, hosts are separated by a comma (or as kombu has it, by ``;sentinel://``, each with the login
    again) and the master's name is the option ``master``. Its connections do not use TLS. A login may also be
    given as the options ``username`` and ``password``. Without a host it is this one, as Celery has it.

    Raises:
        RedisUrlError: in one line, without the password.
    """
    real, rest = _scheme(text.strip())
    login, host_part, tail = _split_sentinels(rest) if real == "sentinel" else _split(rest)
    options = _parse_options(tail)
    username, colon, password = login.partition(":")
    if username and not colon:
        # Redis takes a user only with a password, and a lone word is most often the password.
        raise RedisUrlError("Redis URL: its login has no ':'; write :PASSWORD@ or USER:PASSWORD@")
    if not login and "password" in options:
        username, colon, password = quote(options.get("username", "")), ":", quote(options["password"])
    tls = {name: value for name, value in options.items() if name in _TLS_OPTIONS}
    _check_options(options, tls, real)
    hosts = tuple(_parse_hosts(host_part, sentinels=real == "sentinel"))
    if len(hosts) > 1 and real != "sentinel":
        raise RedisUrlError(f"Redis URL: {len(hosts)} hosts found; give one, or sentinel:// for failover")
    numbers = _numeric(options)
    sentinel_login = _sentinel_login(options) if real == "sentinel" else {}
    used = {*tls, *numbers, "master", "db", "username", "password"}
    used |= {f"sentinel_{name}" for name in sentinel_login}
    return RedisUrl(
        scheme=real,
        hosts=hosts,
        db=_parse_db(tail, options),
        username=unquote(username) or None,
        password=unquote(password) if colon else None,
        tls=_tls(tls) if real == "rediss" else {},
        sentinel_master=options.get("master"),
        sentinel_login=sentinel_login,
        options=numbers,
        ignored_options=tuple(sorted(options.keys() - used)),
    )


def _scheme(text: str) -> tuple[str, str]:
    """The scheme in its one spelling, and what follows it."""
    if text[:1] in {'"', "'"}:
        raise RedisUrlError("Redis URL: it stands in quotes; take them away")
    scheme, found, rest = text.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in _SCHEMES:
        raise RedisUrlError(f"Redis URL: {_why_refused(scheme) if found else 'no scheme found'}; {_LEGAL}")
    real = _SCHEMES[scheme]
    if real != "sentinel" and re.search(rf"[;,\s](?:{'|'.join(_SCHEMES)})://", rest):
        # Celery takes several, of which it uses the first that answers.
        raise RedisUrlError("Redis URL: several URLs found; give one, or sentinel:// for failover")
    return real, rest


def _check_options(options: Mapping[str, str], tls: Mapping[str, str], scheme: str) -> None:
    if scheme == "sentinel" and "master" not in options:
        raise RedisUrlError("Redis URL: sentinel:// needs the master's name; add ?master=NAME")
    if scheme != "sentinel" and "master" in options:
        raise RedisUrlError("Redis URL: the option 'master' names the master of sentinel://, and only there")
    if tls and scheme != "rediss":
        # kombu would use TLS for such a URL, and redis-py would not.
        raise RedisUrlError(f"Redis URL: option {min(tls)!r} needs TLS; use rediss://")


def _sentinel_login(options: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("sentinel_"): options[name] for name in _SENTINEL_OPTIONS if options.get(name)}


def _why_refused(scheme: str) -> str:
    if scheme in _REFUSED:
        return f"scheme {scheme!r} is refused: {_REFUSED[scheme]}"
    # Without a scheme, what comes before '://' may be a part of the password.
    return f"scheme {scheme!r} is not known" if re.fullmatch(r"[a-z+]{1,20}", scheme) else "no scheme found"


def _split(rest: str) -> tuple[str, str, str]:
    """Login, hosts and what follows them."""
    # A raw '/' or '?' in a password is a common mistake; the last '@' before the options ends the login.
    before, mark, query = rest.rpartition("?")
    holders = {part.partition("=")[0] for part in query.split("&") if "@" in part}
    of_options = bool(mark and holders) and holders <= _MAY_HOLD_AT
    login, _, after = (before if of_options else rest).rpartition("@")
    after += f"{mark}{query}" if of_options else ""
    end = re.search(r"[/?#]", after)
    cut = end.start() if end else len(after)
    return login, after[:cut], after[cut:]


def _split_sentinels(rest: str) -> tuple[str, str, str]:
    """The same where kombu's way, with login and database again for each host, is legal too."""
    logins, hosts, tails = zip(*map(_split, rest.split(";sentinel://")), strict=True)
    if len({login for login in logins if login}) > 1:
        raise RedisUrlError("Redis URL: the hosts of sentinel:// have different logins; the master has one")
    return max(logins, key=len), ",".join(hosts), max(tails, key=len)


def _parse_hosts(text: str, *, sentinels: bool) -> Iterable[tuple[str, int]]:
    for part in re.split(r"[,;]", text):
        try:
            pieces = urlsplit(f"//{part}")
            host, port = unquote(pieces.hostname or ""), pieces.port
            host.encode("idna")  # what a connection does; it would raise no OSError then
        except ValueError as fault:
            raise RedisUrlError("Redis URL: its host or port cannot be read; write HOST:PORT") from fault
        if not host and (sentinels or "," in text or ";" in text):
            raise RedisUrlError(f"Redis URL: no host found; {_LEGAL}")
        yield host or _DEFAULT_HOST, port or (26379 if sentinels else 6379)


def _parse_db(tail: str, options: Mapping[str, str]) -> int:
    path = re.split(r"[?#]", tail)[0].strip("/") or options.get("db", "")
    if not path:
        return 0
    if not re.fullmatch(r"[0-9]{1,6}", path) or int(path) >= _MAX_DBS:
        raise RedisUrlError(
            f"Redis URL: database {path[:20]!r} is not a number from 0 up, as in redis://HOST:6379/0"
        )
    return int(path)


def _parse_options(tail: str) -> dict[str, str]:
    _, _, query = tail.partition("?")
    return dict(parse_qsl(query, keep_blank_values=True))


def _numeric(options: Mapping[str, str]) -> dict[str, float]:
    """The options that apply to every client, as numbers; one that cannot be read is left out."""
    found = {}
    for name in NUMERIC_OPTIONS & options.keys():
        text = options[name].strip().lower()
        text = _SWITCHES.get(text, text)
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) and math.isfinite(float(text)):
            found[name] = float(text)
    return found


def _tls(options: Mapping[str, str]) -> dict[str, str]:
    # celery writes CERT_REQUIRED, redis-py 'required': both are understood, one is kept.
    checks = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if checks not in _CERT_REQS:
        raise RedisUrlError(f"Redis URL: ssl_cert_reqs is {checks[:20]!r}; legal are {', '.join(_CERT_REQS)}")
    found = {**options, "ssl_cert_reqs": checks}
    if "ssl_check_hostname" in found:
        switch = found["ssl_check_hostname"].strip().lower()
        found["ssl_check_hostname"] = "" if _SWITCHES.get(switch, switch) == "0" else "1"
    return found


def host_port(host: str, port: int) -> str:
    """``HOST:PORT`` as a URL has it, an IPv6 address in brackets."""
    quoted = host.replace("%", "%25")  # before the zone of an IPv6 address
    return f"[{quoted}]:{port}" if ":" in host else f"{quoted}:{port}"
