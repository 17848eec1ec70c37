"""The one loader: flags and environment in, one valid :class:`Settings` out, or every fault at once.

A command states which settings it has. Those are read, flag before variable before default; the others
stay at their default, and their variables are not read. Nothing connects here; the only file that is read is
that of the Redis URL. A message names the source, the value (without a login) and what is legal.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from autoscaler.broker.connections import RedisTuning
from autoscaler.broker.url import RedisUrlError, parse_redis_url
from autoscaler.core.decider import Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.policy import Policy, PolicyError
from autoscaler.report.mask import mask, shown
from autoscaler.sensors.container import ContainerSettings
from autoscaler.sensors.queues import KeyLayout
from autoscaler.settings.table import ALL, DEMAND, KEDA, REDIS, TARGET_WAIT, THRESHOLDS, flag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from autoscaler.settings.table import Setting

_PREFIX = "AUTOSCALER_"
#: What a mistyped variable begins with: ours, and the one that is called CELERY_AUTOSCALE_ENABLED.
_PREFIXES = (_PREFIX, "CELERY_AUTOSCAL", "CELERY_AUTO_SCAL")
_PREFIX_OF_ANY = re.compile(r"(?:CELERY_)?AUTO_?SCAL(?:ER|E|ING)?_")
#: Kubernetes adds these to every pod when a Service of that name exists.
_OF_A_SERVICE = re.compile(
    r"(?:CELERY_)?AUTOSCALER_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|(?:SERVICE_)?PORT(?:_[A-Z0-9_]*)?)"
)
#: Used by the target wait only.
_OF_THE_TARGET = tuple(setting for setting in DEMAND if setting.key in ("start_worth", "release_caution"))


class ConfigError(ValueError):
    """Settings with faults; ``faults`` has one line for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Demand(StrEnum):
    """What decides how many processes the work needs."""

    TARGET_WAIT = "target_wait"
    THRESHOLDS = "thresholds"
    #: The thresholds decide, and what the target wait would have done is exported.
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaSettings:
    """What only the external scaler of KEDA has."""

    listen: tuple[str, int]
    processes_per_worker: int | None
    scale_in: str
    unacked_key: str
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_authority: Path | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A complete, valid configuration.

    ``read_redis_url`` returns the current text of the URL. ``sources`` has the flag or
    the variable of each setting that was given, by its key. ``ignored`` names the sources that were given and
    have no effect. ``unknown_variables`` has the nearest legal variable, or None, for each unknown one.
    """

    read_redis_url: Callable[[], str] = field(repr=False)
    policy: Policy
    scope: Scope
    mode: Mode
    name: str
    interval_seconds: float
    min_interval_seconds: float
    inspect_timeout_seconds: float
    listen: tuple[str, int]
    base_path: str
    metrics_detail: str
    log_format: str
    log_level: str
    layout: KeyLayout
    control_exchanges: tuple[str, ...]
    fanout_prefix: str | None
    tuning: RedisTuning
    container: ContainerSettings | None
    quiesces: bool
    quiesce_deadline_seconds: float
    demand: Demand
    target_wait: TargetWaitPolicy
    target_waits: Mapping[str, float]
    keda: KedaSettings
    sources: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    unknown_variables: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def deciding(self) -> TargetWaitPolicy | None:
        """The target wait where it decides, else None."""
        return self.target_wait if self.demand is Demand.TARGET_WAIT else None

    @property
    def shadow(self) -> TargetWaitPolicy | None:
        """The target wait where it is only exported, else None."""
        return self.target_wait if self.demand is Demand.SHADOW else None


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], settings: Collection[Setting] = ALL
) -> Settings:
    """The settings that a command has, from its flags (by key; None where not given) and the environment.

    Raises:
        ConfigError: with every fault.
    """
    faults: list[str] = []
    read = _Reader(flags, environment, settings, faults)
    values = {setting.key: read.value(setting) for setting in (*ALL, *KEDA)}
    source = _redis_source(values, read.sources, faults) if set(REDIS) <= set(settings) else _no_redis
    scope = Scope(workers=frozenset(values["worker"] or ()), queues=frozenset(values["queue"] or ()))
    policy, container = _policy(values, faults), _container(values, scope, faults)
    demand, ignored = _demand(values, read, faults)
    keda = _keda(values, faults)
    if faults or policy is None:
        raise ConfigError(faults)
    return Settings(
        read_redis_url=source,
        policy=policy,
        scope=scope,
        mode=Mode.DISABLED if not values["enabled"] else Mode.DRY_RUN if values["dry_run"] else Mode.ACT,
        name=values["name"] or (next(iter(scope.workers)) if len(scope.workers) == 1 else "default"),
        **_periods(values),
        listen=values["listen"],
        base_path=values["base_path"] or "",
        metrics_detail=values["metrics_detail"],
        log_format=values["log_format"],
        log_level=values["log_level"],
        layout=_layout(values),
        control_exchanges=values["control_exchange"],
        fanout_prefix=values["fanout_prefix"],
        tuning=_tuning(values),
        container=container,
        quiesces=values["shrink_without_companion"] == "quiesce",
        quiesce_deadline_seconds=values["quiesce_deadline"],
        demand=demand,
        target_wait=_target_wait(values),
        target_waits={queue: time for queue, time in values["target_wait"] if queue and time},
        keda=keda,
        sources=read.sources,
        ignored=ignored,
        unknown_variables=unknown_variables(environment),
    )


def _periods(values: Mapping[str, Any]) -> dict[str, float]:
    """How often it looks, and how long it waits for workers, in seconds."""
    return {
        "interval_seconds": values["interval"],
        "min_interval_seconds": min(values["min_interval"], values["interval"]),
        "inspect_timeout_seconds": values["inspect_timeout"],
    }


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str | None]:
    """The variables that look like a setting and are none, each with the nearest that is one, or None."""
    legal = {setting.variable for setting in (*ALL, *KEDA)}
    unknown = sorted(
        name
        for name in environment
        if name.startswith(_PREFIXES) and name not in legal and not _OF_A_SERVICE.fullmatch(name)
    )
    # Compared without what all of them begin with, which would make any two alike.
    endings = {_PREFIX_OF_ANY.sub("", name): name for name in sorted(legal)}
    nearest = {
        name: difflib.get_close_matches(_PREFIX_OF_ANY.sub("", name), endings, n=1) for name in unknown
    }
    return {
        name: endings[found[0]] if found else None
        for name, found in nearest.items()
        if found or name.startswith(_PREFIX)  # what else begins with CELERY_ may be anybody's
    }


class _Reader:
    """Reads single settings and notes where each value came from."""

    def __init__(
        self,
        flags: Mapping[str, Any],
        environment: Mapping[str, str],
        settings: Collection[Setting],
        faults: list[str],
    ) -> None:
        self._flags = flags
        self._environment = environment
        self._keys = {setting.key for setting in settings}
        self._faults = faults
        self.sources: dict[str, str] = {}

    def value(self, setting: Setting) -> Any:
        """A setting's value, or None where it has none or a fault was noted."""
        text = self._given(setting)
        source = self.sources.get(setting.key, setting.flag)
        words = list(text) if isinstance(text, tuple) else str(text).split() if setting.many else [str(text)]
        values = []
        for word in words:
            if word == "" and setting.default == "" and setting.key not in self.sources:
                continue
            try:
                values.append(setting.parse(word))
            except ValueError as fault:
                self._faults.append(f"{source} is {shown(word)}; {fault}")
        if setting.many:
            return tuple(values)
        return values[0] if values else None

    def _given(self, setting: Setting) -> Any:
        flag = self._flags.get(setting.key)
        if flag not in (None, ()):
            # An empty flag is as good as none where the default is not empty.
            if flag != "" or setting.default == "":
                self.sources[setting.key] = setting.flag
            return flag if flag != "" else setting.default
        if setting.key in self._keys and self._environment.get(setting.variable):
            self.sources[setting.key] = setting.variable
            return self._environment[setting.variable]
        return setting.default


def _demand(values: Mapping[str, Any], read: _Reader, faults: list[str]) -> tuple[Demand, tuple[str, ...]]:
    """What decides, and the sources that have no effect then."""
    targets = dict(values["target_wait"])
    off, shadow = None in targets.values(), values["shadow"] not in ("none", None)
    if off and (len(targets) > 1 or shadow):
        faults.append("--target-wait is off and a target is given too; remove one of them")
    thresholds = [read.sources[one.key] for one in THRESHOLDS if one.key in read.sources]
    if shadow:
        return Demand.SHADOW, ()
    if targets.get("", 0.0) is None or (thresholds and TARGET_WAIT.key not in read.sources):
        return Demand.THRESHOLDS, tuple(
            read.sources[one.key] for one in _OF_THE_TARGET if one.key in read.sources
        )
    return Demand.TARGET_WAIT, tuple(thresholds)


def _target_wait(values: Mapping[str, Any]) -> TargetWaitPolicy:
    return TargetWaitPolicy(
        target_wait_seconds=dict(values["target_wait"]).get("") or TargetWaitPolicy().target_wait_seconds,
        start_worth_seconds=values["start_worth"],
        release_caution=values["release_caution"],
    )


def _policy(values: Mapping[str, Any], faults: list[str]) -> Policy | None:
    parameters = {
        parameter.name: values[flag_of(parameter.name)[2:].replace("-", "_")] for parameter in fields(Policy)
    }
    optional = {parameter.name for parameter in fields(Policy) if parameter.metadata["optional"]}
    if any(value is None and name not in optional for name, value in parameters.items()):
        return None  # their faults are noted already
    try:
        return Policy(**parameters)
    except PolicyError as fault:
        names = "|".join(sorted(parameters, key=len, reverse=True))
        faults += [re.sub(rf"\b({names})\b", lambda match: flag_of(match[1]), line) for line in fault.faults]
        return None


def _keda(values: Mapping[str, Any], faults: list[str]) -> KedaSettings:
    certificate, key, authority = values["keda_tls_cert"], values["keda_tls_key"], values["keda_client_ca"]
    if (certificate is None) != (key is None):
        faults.append("--keda-tls-cert and --keda-tls-key belong together; give both, or neither")
    if authority is not None and certificate is None:
        faults.append("--keda-client-ca needs --keda-tls-cert and --keda-tls-key")
    for name in ("keda_tls_cert", "keda_tls_key", "keda_client_ca", "keda_token_file"):
        path = values[name]
        try:
            if path is not None and not path.read_bytes().strip():
                faults.append(f"--{name.replace('_', '-')}: {mask(str(path))} is empty")
        except OSError as fault:
            faults.append(f"--{name.replace('_', '-')}: {mask(str(fault))}")
    return KedaSettings(
        listen=values["keda_listen"],
        processes_per_worker=values["processes_per_worker"],
        scale_in=values["scale_in"],
        unacked_key=values["unacked_key"],
        tls_certificate=certificate,
        tls_key=key,
        client_authority=authority,
        token_file=values["keda_token_file"],
    )


def _layout(values: Mapping[str, Any]) -> KeyLayout:
    return KeyLayout(
        prefix=values["global_keyprefix"] or "",
        separator=values["queue_separator"],
        priority_steps=values["priority_steps"],
    )


def _tuning(values: Mapping[str, Any]) -> RedisTuning:
    return RedisTuning(
        max_connections=values["redis_max_connections"],
        socket_timeout_seconds=values["redis_socket_timeout"],
        connect_timeout_seconds=values["redis_connect_timeout"],
        health_check_interval_seconds=values["redis_health_check_interval"],
        client_name=values["redis_client_name"],
    )


def _no_redis() -> str:
    raise RedisUrlError("this command has no Redis URL")


def _redis_source(
    values: Mapping[str, Any], sources: Mapping[str, str], faults: list[str]
) -> Callable[[], str]:
    url, path = values["redis_url"], values["redis_url_file"]
    if url and path:
        faults.append("REDIS_URL and REDIS_URL_FILE are both set; keep one")
        return _no_redis
    if path and re.match(r"[a-z+]+:/", str(path)):
        # The message must not show it: the URL holds a password.
        faults.append("REDIS_URL_FILE is a URL; it must be the path of a file that holds one")
        return _no_redis
    if not url and not path:
        faults.append(
            "REDIS_URL is not set; give redis://HOST:6379/0 by --redis-url, REDIS_URL or REDIS_URL_FILE"
        )
        return _no_redis

    def read() -> str:
        return str(url) if url else read_secret(path)

    try:
        parse_redis_url(read())
    except (RedisUrlError, OSError) as fault:
        # An OSError names the file and never its content.
        of_file = isinstance(fault, OSError)
        unread = f"{sources.get('redis_url_file')}: {mask(str(fault))}; give a file that holds the URL"
        faults.append(unread if of_file else str(fault))
    return read


def read_secret(path: Path) -> str:
    """The one line in a file of a secret.

    Raises:
        OSError: where it cannot be read.
    """
    return path.read_text(errors="replace").strip()


def _container(values: Mapping[str, Any], scope: Scope, faults: list[str]) -> ContainerSettings | None:
    stated = ("cpu_limit", "memory_limit", "limits_folder", "worker_pid")
    given = [key for key in stated if values[key] is not None]
    if not given:
        return None
    if len(scope.workers) != 1:
        flags = ", ".join("--" + key.replace("_", "-") for key in given)
        faults.append(f"{flags} describes the container of one worker; name it with exactly one --worker")
        return None
    return ContainerSettings(
        cpu_limit_cores=values["cpu_limit"],
        memory_limit_bytes=values["memory_limit"],
        limits_folder=values["limits_folder"],
        worker_pid=values["worker_pid"],
    )
