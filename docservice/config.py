"""The settings of the document service: one table of defaults, one validation, all faults reported at once.

Nothing here connects to anything. Each variable ``NAME`` may be given as ``NAME_FILE`` instead: the path of a
file that holds the value. Error messages name the variable and what is legal; they never hold a URL, since a
mistyped password can be in any part of it. ``REDIS_URL`` follows the same grammar as the autoscaler's.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from autoscaler.api import RedisTuning, RedisUrl, RedisUrlError, parse_redis_url
from docservice.domain.number_pattern import PatternError, number_pattern
from docservice.postgres.database import PoolSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_MIB = 2**20
_PREFIX = "DOCSERVICE_"
#: Kubernetes adds these to every pod when a Service whose name begins with ``docservice`` exists.
_OF_A_SERVICE = re.compile(r"DOCSERVICE_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|(?:SERVICE_)?PORT(?:_[A-Z0-9_]*)?)")
#: As a browser writes it: no path, no final slash.
_ORIGIN = re.compile(r"\*|https?://[a-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?")
_DATABASE_SCHEMES = ("postgresql", "postgres")
_DATABASE_OPTIONS = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "target_session_attrs"}
)
_DATABASE_LEGAL = "write postgresql://USER@HOST:PORT/DATABASE"


class ConfigError(ValueError):
    """Invalid settings; ``faults`` has one sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class DatabaseUrlError(ValueError):
    """A ``DATABASE_URL`` that cannot be used; the message does not hold it."""


def _variable(name: str, default: object, about: str, *, low: float = 0, high: float = 0) -> Any:
    metadata = {"name": name, "about": about, "low": low, "high": high}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Sizes are bytes, times are seconds."""

    redis: RedisUrl = field(
        metadata={"name": "REDIS_URL", "about": "set it to a redis://, rediss:// or sentinel:// URL"}
    )
    database_url: str = field(
        repr=False, metadata={"name": "DATABASE_URL", "about": "set it to a postgresql:// URL"}
    )
    redis_max_connections: int = _variable(
        "REDIS_MAX_CONNECTIONS",
        32,
        "Maximum connections to Redis of one process; one of them is for reads.",
        low=2,
        high=10_000,
    )
    redis_socket_timeout_seconds: float = _variable(
        "REDIS_SOCKET_TIMEOUT", 1.0, "How long a reply from Redis may take.", low=0.05, high=60
    )
    redis_connect_timeout_seconds: float = _variable(
        "REDIS_SOCKET_CONNECT_TIMEOUT", 1.0, "How long connecting to Redis may take.", low=0.05, high=60
    )
    redis_health_check_seconds: int = _variable(
        "REDIS_HEALTH_CHECK_INTERVAL",
        30,
        "Check a connection idle for longer; 0 never checks.",
        low=0,
        high=3600,
    )
    redis_client_name: str = _variable("REDIS_CLIENT_NAME", "docservice", "Name shown in CLIENT LIST.")
    database_pool_size: int = _variable(
        "DATABASE_POOL_SIZE", 16, "Maximum connections to Postgres of one process.", low=1, high=1000
    )
    database_statement_timeout_seconds: float = _variable(
        "DATABASE_STATEMENT_TIMEOUT", 10.0, "How long a statement may take.", low=0.1, high=3600
    )
    database_connect_timeout_seconds: float = _variable(
        "DATABASE_CONNECT_TIMEOUT",
        5.0,
        "How long connecting, or waiting for a connection, may take.",
        low=0.1,
        high=60,
    )
    database_pooler: str = _variable(
        "DATABASE_POOLER",
        "none",
        "none, or transaction for a PgBouncer in transaction mode before Postgres.",
    )
    blob_url: str = _variable(
        "DOCSERVICE_BLOB_URL",
        "file:///var/lib/docservice/blobs",
        "Where document files are stored: file:///FOLDER, s3://BUCKET/PREFIX, or another fsspec URL.",
    )
    blob_seconds: float = _variable(
        "DOCSERVICE_BLOB_SECONDS",
        30.0,
        "How long the store of files may take for one call, such as to open, list or flush, or for 256 KiB.",
        low=0.1,
        high=3600,
    )
    cache_seconds: int = _variable(
        "DOCSERVICE_CACHE_SECONDS", 60, "How long a grid page is cached; 0 caches none.", low=0, high=86_400
    )
    identity_seconds: int = _variable(
        "DOCSERVICE_IDENTITY_SECONDS",
        30,
        "How long the identity of a token is cached. Revocation does not wait for it.",
        low=1,
        high=3600,
    )
    upload_file_bytes: int = _variable(
        "DOCSERVICE_UPLOAD_FILE_BYTES", 25 * _MIB, "Maximum bytes of an uploaded file.", low=1, high=2**40
    )
    upload_files: int = _variable(
        "DOCSERVICE_UPLOAD_FILES", 100, "Maximum files of one upload request.", low=1, high=10_000
    )
    body_bytes: int = _variable(
        "DOCSERVICE_BODY_BYTES", _MIB, "Maximum bytes of a JSON body.", low=1024, high=100 * _MIB
    )
    export_seconds: float = _variable(
        "DOCSERVICE_EXPORT_SECONDS", 120.0, "How long Postgres may take for a CSV export.", low=1, high=3600
    )
    export_bytes: int = _variable(
        "DOCSERVICE_EXPORT_BYTES",
        1024 * _MIB,
        "Maximum bytes of a CSV export. Up to 8 of them are on disk at once.",
        low=1024,
        high=2**40,
    )
    body_idle_seconds: float = _variable(
        "DOCSERVICE_BODY_IDLE_SECONDS",
        30.0,
        "How long a client may pause within a body or an export.",
        low=0.1,
        high=3600,
    )
    mail_number_header: str = _variable(
        "DOCSERVICE_MAIL_NUMBER_HEADER", "X-Mail-Number", "Mail header that holds the mail number."
    )
    mail_number_pattern: str = _variable(
        "DOCSERVICE_MAIL_NUMBER_PATTERN",
        r"\b[A-Z]{2,6}-\d{4}-\d{4,10}\b",
        "Regular expression, in the syntax of RE2, of a mail number in a subject or text.",
    )
    processing_seconds: int = _variable(
        "DOCSERVICE_PROCESSING_SECONDS", 60, "How long processing a document may take.", low=1, high=3600
    )
    processing_memory_bytes: int = _variable(
        "DOCSERVICE_PROCESSING_MEMORY_BYTES",
        1024 * _MIB,
        "Maximum memory of one worker process; 0 is no limit.",
        low=0,
        high=2**40,
    )
    processing_attempts: int = _variable(
        "DOCSERVICE_PROCESSING_ATTEMPTS", 3, "Attempts to process a document.", low=1, high=100
    )
    attachments: int = _variable(
        "DOCSERVICE_ATTACHMENTS", 500, "Maximum attachments of a mail.", low=0, high=9_999
    )
    sweep_seconds: float = _variable(
        "DOCSERVICE_SWEEP_SECONDS",
        15.0,
        "Interval of the sweep for lost documents.",
        low=0.1,
        high=3600,
    )
    queue: str = _variable("DOCSERVICE_QUEUE", "celery", "Celery queue of documents to process.")
    autoscaler_name: str = _variable(
        "AUTOSCALER_NAME", "default", "Name of the autoscaler that sizes the workers."
    )
    cors_origins: str = _variable(
        "DOCSERVICE_CORS_ORIGINS",
        "",
        "Origins whose pages may ask from a browser, such as https://app.example.org, separated by commas; *"
        " is any. Empty: none but its own.",
    )
    docs: str = _variable("DOCSERVICE_DOCS", "admin", "Who may read /docs: open, admin or off.")

    def __post_init__(self) -> None:
        faults = [fault for item in fields(self) if (fault := _out_of_bounds(item, getattr(self, item.name)))]
        if self.docs not in ("open", "admin", "off"):
            faults.append(f"DOCSERVICE_DOCS must be open, admin or off, not {self.docs!r}")
        faults += [
            f"DOCSERVICE_CORS_ORIGINS: {origin.strip()!r} is no origin; write https://HOST or https://HOST:PORT"
            for origin in self.cors_origins.split(",")
            if self.cors_origins and not _ORIGIN.fullmatch(origin.strip())
        ]
        if self.database_pooler not in ("none", "transaction"):
            faults.append(f"DATABASE_POOLER must be none or transaction, not {self.database_pooler!r}")
        try:
            number_pattern(self.mail_number_pattern)
        except PatternError as fault:
            faults.append(f"DOCSERVICE_MAIL_NUMBER_PATTERN is {fault}")
        if faults:
            raise ConfigError(faults)

    @property
    def redis_tuning(self) -> RedisTuning:
        """How connections to Redis behave."""
        return RedisTuning(
            max_connections=self.redis_max_connections,
            socket_timeout_seconds=self.redis_socket_timeout_seconds,
            connect_timeout_seconds=self.redis_connect_timeout_seconds,
            health_check_interval_seconds=self.redis_health_check_seconds,
            client_name=self.redis_client_name,
        )

    def pool(self, *, size: int | None = None) -> PoolSettings:
        """Settings of the connection pool for Postgres."""
        return PoolSettings(
            url=self.database_url,
            size=size or self.database_pool_size,
            statement_timeout_seconds=self.database_statement_timeout_seconds,
            connect_timeout_seconds=self.database_connect_timeout_seconds,
            transaction_pooler=self.database_pooler == "transaction",
        )


def check_database_url(url: str) -> str:
    """Return ``url``, without space around it, when it names a Postgres database.

    Raises:
        DatabaseUrlError: with what is legal.
    """
    url = url.strip()
    if "#" in url:
        raise DatabaseUrlError("it has a '#'; write %23 where the password holds one")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as fault:
        raise DatabaseUrlError(f"it is malformed; {_DATABASE_LEGAL}") from fault
    if parts.scheme.lower() not in _DATABASE_SCHEMES:
        raise DatabaseUrlError(f"the scheme must be {' or '.join(_DATABASE_SCHEMES)}; {_DATABASE_LEGAL}")
    if not host:
        raise DatabaseUrlError(f"it names no host; {_DATABASE_LEGAL}")
    if not parts.path.strip("/"):
        raise DatabaseUrlError("it must end in the name of a database, such as /documents")
    if set(options) - _DATABASE_OPTIONS:
        legal = ", ".join(sorted(_DATABASE_OPTIONS))
        raise DatabaseUrlError(f"it has an unknown option after the '?'; legal are {legal}")
    return url


def _out_of_bounds(item: Any, value: object) -> str | None:
    low, high = item.metadata.get("low", 0), item.metadata.get("high", 0)
    if not high or not isinstance(value, int | float) or low <= value <= high:
        return None
    return f"{item.metadata['name']} must be {low:g} to {high:g}, not {value:g}"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read all settings from the environment.

    Raises:
        ConfigError: with every fault; no message holds the value of a URL.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for item in fields(Settings):
        name = item.metadata["name"]
        try:
            text = _read(name, environment)
            if text is not None:
                values[item.name] = _typed(item, text)
            elif item.name in ("redis", "database_url"):
                faults.append(f"{name} is not set; {item.metadata['about']}")
        except RedisUrlError as fault:
            faults.append(f"{name} cannot be used: {str(fault).removeprefix('Redis URL: ')}")
        except DatabaseUrlError as fault:
            faults.append(f"{name} cannot be used: {fault}")
        except ValueError as fault:
            faults.append(f"{name} {fault}")
    if not faults:
        return Settings(**values)
    try:  # report the bounds of the others together with what could not be read
        Settings(**{"redis": _NOWHERE, "database_url": "", **values})
    except ConfigError as fault:
        faults += fault.faults
    raise ConfigError(faults)


def unknown_variables(environment: Mapping[str, str], others: Collection[str]) -> list[str]:
    """One line for each variable that looks like a setting and is none; ``others`` are legal, too."""
    legal = {item.metadata["name"] for item in fields(Settings)} | set(others)
    names = [name for name in legal if name.startswith(_PREFIX)]
    found = []
    for name in sorted(environment):
        plain = name.removesuffix("_FILE")
        if not name.startswith(_PREFIX) or plain in legal or _OF_A_SERVICE.fullmatch(name):
            continue
        nearest = difflib.get_close_matches(plain, names, n=1, cutoff=0.8)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        found.append(f"{name} is not a setting and has no effect{hint}")
    return found


_NOWHERE = RedisUrl(scheme="redis", hosts=())


def read_variable(name: str, environment: Mapping[str, str]) -> str | None:
    """The value of one variable, from the file that ``NAME_FILE`` names where that is set.

    Raises:
        ValueError: with the variable's name, where both are set or the file cannot be read.
    """
    try:
        return _read(name, environment)
    except ValueError as fault:
        raise ValueError(f"{name} {fault}") from fault


def _read(name: str, environment: Mapping[str, str]) -> str | None:
    text, path = environment.get(name), environment.get(f"{name}_FILE")
    if text and path:
        raise ValueError(f"and {name}_FILE exclude each other; set one of them")
    if path:
        try:
            return Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ValueError(f"could not be read from the file that {name}_FILE names: {fault}") from fault
    return text or None


def _typed(item: Any, text: str) -> object:
    if item.name == "database_url":
        return check_database_url(text)
    match item.type:
        case "RedisUrl":
            return parse_redis_url(text)
        case "int":
            try:
                return int(text)
            except ValueError as fault:
                raise ValueError(f"must be a whole number, not {text!r}") from fault
        case "float":
            try:
                number = float(text)
            except ValueError as fault:
                raise ValueError(f"must be a number, not {text!r}") from fault
            if number != number:  # noqa: PLR0124 - NaN alone is unequal to itself
                raise ValueError("must be a number, not nan")
            return number
        case _:
            return text
