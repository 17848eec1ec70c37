"""The settings of a run: one table of flags, read from the command line, the environment and files.

Each setting has a flag and an environment variable; the flag wins. Every fault is found before anything
connects, and all are told at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autoscaler.broker.connections import RedisTuning
from autoscaler.broker.url import RedisUrlError, parse_redis_url
from autoscaler.core.decider import Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.policy import MAX_PROCESSES, Policy, PolicyError
from autoscaler.report import log
from autoscaler.report.health import ALL_ADDRESSES, DEFAULT_LISTEN, parse_listen
from autoscaler.sensors.container import ContainerSource
from autoscaler.sensors.queues import KeyLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LONGEST_NAME = 200
DEFAULT_KEDA_LISTEN = f"{ALL_ADDRESSES}:9810"
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class ConfigError(ValueError):
    """Settings with faults; ``faults`` has one line for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its key here, its flag and variable, and how its text becomes a value.

    ``parse`` raises ValueError with what is legal. ``many`` settings take a flag again and again, or words in
    the variable; ``switch`` ones take no value on the command line.
    """

    key: str
    flag: str
    variable: str
    default: str
    about: str
    parse: Callable[[str], Any]
    many: bool = False
    switch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole, valid configuration. ``read_redis_url`` gives the URL's text as it stands at that moment."""

    read_redis_url: Callable[[], str] = field(repr=False)
    policy: Policy
    scope: Scope
    mode: Mode
    name: str
    interval_seconds: float
    inspect_timeout_seconds: float
    listen: tuple[str, int]
    log_format: str
    log_level: str
    layout: KeyLayout
    tuning: RedisTuning
    container: ContainerSource | None
    quiesces: bool
    quiesce_deadline_seconds: float
    latency: TargetWaitPolicy | None = None
    shadow: TargetWaitPolicy | None = None
    target_waits: Mapping[str, float] = field(default_factory=dict)


def _number(low: float, high: float, unit: str = "seconds") -> Callable[[str], float]:
    def parse(text: str) -> float:
        legal = f"it must be a number from {low:g} to {high:g} ({unit})"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(legal) from None
        if not low <= value <= high:
            raise ValueError(legal)
        return value

    return parse


def _whole(low: int, high: int, unit: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"it must be a whole number from {low} to {high} ({unit})")
        return int(text)

    return parse


def _one_of(*legal: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in legal:
            raise ValueError(f"it must be one of {', '.join(legal)}")
        return text.lower()

    return parse


def parse_switch(text: str) -> bool:
    """``true`` or ``false`` in the usual spellings.

    Raises:
        ValueError: for anything else.
    """
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("it must be true or false")


def _parse_max(text: str) -> int | None:
    if text.lower() == "auto":
        return None
    try:
        return _whole(1, MAX_PROCESSES, "processes")(text)
    except ValueError as fault:
        raise ValueError(f"{fault}, or auto") from None


def _parse_name(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_NAME or not text.isprintable():
        raise ValueError(f"it must be 1 to {_LONGEST_NAME} printable characters")
    return text


def _parse_worker(text: str) -> str:
    if "$(" in text:
        raise ValueError(
            "its $(...) was not replaced, for Kubernetes knows only variables that stand before it: put that "
            "variable in front of it in env, or give the worker's name as it is, as in celery@HOST"
        )
    return _parse_name(text)


def _parse_steps(text: str) -> tuple[int, ...]:
    words = [word for word in re.split(r"[,\s]+", text) if word]
    if not words or not all(re.fullmatch(r"[0-9]{1,3}", word) for word in words):
        raise ValueError("it must be whole numbers parted by commas, as in 0,3,6,9")
    return tuple(sorted({int(word) for word in words}))


def _parse_separator(text: str) -> str:
    try:
        separator = text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        separator = ""
    if not separator:
        raise ValueError(r"it must be one or more characters; escapes such as \x06\x16 are understood")
    return separator


def parse_size(text: str) -> int:
    """Bytes from ``512Mi``, ``2G`` or a plain number, as Kubernetes writes them.

    Raises:
        ValueError: for anything else.
    """
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    match = re.fullmatch(r"([0-9]{1,15})\s*([kmg]?i?)b?", text.strip().lower())
    if not match or match[2] not in units or int(match[1]) == 0:
        raise ValueError("it must be bytes above 0, as in 512Mi, 2Gi or 536870912")
    return int(match[1]) * units[match[2]]


def _parse_pid(text: str) -> int | Literal["auto"]:
    return "auto" if text.lower() == "auto" else _whole(1, 2**22, "pid, or auto")(text)


def _flag_of(parameter: str) -> str:
    special = {"min_processes": "min", "max_processes": "max"}
    special |= {"stabilization_seconds": "stabilization-window", "settle_seconds": "settle-time"}
    return "--" + special.get(parameter, parameter.removesuffix("_seconds").replace("_", "-"))


def _variable_of(flag: str) -> str:
    return "AUTOSCALER_" + flag.removeprefix("--").replace("-", "_").upper()


def _setting(
    flag: str, default: str, parse: Callable[[str], Any], about: str, *, variable: str = "", **more: bool
) -> Setting:
    return Setting(
        key=flag.removeprefix("--").replace("-", "_"),
        flag=flag,
        variable=variable or _variable_of(flag),
        default=default,
        about=about,
        parse=parse,
        **more,
    )


def _parameters() -> tuple[Setting, ...]:
    found = []
    for parameter in fields(Policy):
        meta, flag = parameter.metadata, _flag_of(parameter.name)
        default = "auto" if parameter.default is None else f"{parameter.default:g}"
        if parameter.name == "max_processes":
            parse: Callable[[str], Any] = _parse_max
        elif meta["unit"] == "processes":
            parse = _whole(meta["low"], meta["high"], meta["unit"])
        else:
            parse = _number(meta["low"], meta["high"], meta["unit"])
        found.append(_setting(flag, default, parse, meta["about"]))
    return tuple(found)


PARAMETERS = _parameters()
#: What the thresholds alone go by: whoever names one of them wants them to decide.
THRESHOLDS = tuple(
    parameter
    for parameter in PARAMETERS
    if parameter.key.startswith(
        ("scale_up_", "scale_down_threshold", "scale_down_delay", "stabilization_", "max_step_")
    )
)

_TARGET = "it must be a time, as in 5s, 500ms or 2m, for one queue as in mails=30s"


def parse_target(text: str) -> tuple[str, float]:
    """A queue's name, empty for all others, and its target wait in seconds, from ``mails=30s`` or ``5s``.

    Raises:
        ValueError: for anything else.
    """
    queue, _, time = text.rpartition("=")
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m|h|)", time.strip().lower())
    if match is None or "," in queue:
        raise ValueError(_TARGET)
    seconds = float(match[1]) * {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}[match[2]]
    parameter = TargetWaitPolicy.__dataclass_fields__["target_wait_seconds"].metadata
    if not parameter["low"] <= seconds <= parameter["high"]:
        raise ValueError(f"it must be from {parameter['low']:g} s to {parameter['high']:g} s")
    return queue, seconds


def _parse_target_or_off(text: str) -> tuple[str, float | None]:
    return ("", None) if text.strip().lower() == "off" else parse_target(text)


def _latency_knob(flag: str, name: str) -> Setting:
    parameter = TargetWaitPolicy.__dataclass_fields__[name]
    meta = parameter.metadata
    parse = _number(meta["low"], meta["high"], meta["unit"])
    return _setting(flag, f"{parameter.default:g}", parse, meta["about"])


TARGET_WAIT = _setting(
    "--target-wait",
    "5s",
    _parse_target_or_off,
    "Start every task within this time; one queue's by mails=30s (again for more). off: thresholds decide.",
    many=True,
)
#: The latency demand.
LATENCY = (
    TARGET_WAIT,
    _setting(
        "--shadow",
        "none",
        _one_of("none", "latency"),
        "latency: the thresholds decide, and what --target-wait would have done is exported.",
    ),
    _latency_knob("--start-worth", "start_worth_seconds"),
    _latency_knob("--release-caution", "release_caution"),
)

#: What may be done to a worker without the companion.
SHRINK = (
    _setting(
        "--shrink-without-companion",
        "idle",
        _one_of("idle", "quiesce"),
        "idle: only while idle. quiesce: cancel its consumers, wait until it is empty, shrink, give back.",
    ),
    _setting(
        "--quiesce-deadline",
        "60",
        _number(2, 3600),
        "How long a worker may take to become empty before its consumers are given back.",
    ),
)

#: Where Redis is, and how its keys are laid out.
REDIS = (
    _setting(
        "--redis-url",
        "",
        str,
        "Redis of the Celery broker: redis://, rediss://, sentinel://.",
        variable="REDIS_URL",
    ),
    _setting(
        "--redis-url-file",
        "",
        Path,
        "A file that holds the URL; read again after a fault.",
        variable="REDIS_URL_FILE",
    ),
    _setting(
        "--redis-max-connections", "10", _whole(2, 10_000, "connections"), "Most connections of the daemon."
    ),
    _setting("--redis-socket-timeout", "3", _number(1.5, 60), "How long Redis may take to answer."),
    _setting("--redis-connect-timeout", "2", _number(0.1, 60), "How long a connection may take."),
    _setting(
        "--redis-health-check-interval",
        "25",
        _number(0, 3600),
        "Idle time after which a connection is tried.",
    ),
    _setting("--redis-client-name", "autoscaler", _parse_name, "The name in Redis's CLIENT LIST."),
    _setting("--global-keyprefix", "", str, "kombu's global_keyprefix of the Celery application."),
    _setting("--queue-separator", r"\x06\x16", _parse_separator, "kombu's sep between queue and priority."),
    _setting("--priority-steps", "0,3,6,9", _parse_steps, "kombu's priority_steps."),
)

#: What is looked at and what may be touched.
SCOPE = (
    _setting(
        "--worker", "", _parse_worker, "Worker to resize (again for more); none: every worker.", many=True
    ),
    _setting(
        "--queue",
        "",
        _parse_name,
        "Queue that counts (again for more); none: all that the workers consume.",
        many=True,
    ),
    _setting("--name", "", _parse_name, "Name of this autoscaler in Redis; the worker's where one is given."),
    _setting("--inspect-timeout", "1.5", _number(1, 30), "How long workers may take to answer."),
    _setting(
        "--worker-pid",
        "",
        _parse_pid,
        "The worker's process, seen from here; auto finds it. With one --worker.",
    ),
    _setting(
        "--cpu-limit",
        "",
        _number(0.01, 10_000, "cores"),
        "The worker's CPU limit in cores. With one --worker.",
    ),
    _setting("--memory-limit", "", parse_size, "The worker's memory limit, as in 512Mi. With one --worker."),
    _setting(
        "--limits-folder",
        "",
        Path,
        "Folder of a downward-API volume with cpu_limit (divisor 1m) and memory_limit. With one --worker.",
    ),
)

#: How the daemon runs.
RUN = (
    _setting("--interval", "2", _number(0.2, 300), "Time from tick to tick."),
    _setting("--listen", DEFAULT_LISTEN, parse_listen, "Address of /livez, /readyz, /metrics and /status."),
    _setting("--log-format", "auto", _one_of(*log.FORMATS), "json, console, or auto: console on a terminal."),
    _setting("--log-level", "info", _one_of(*log.LEVELS), "Least level that is logged."),
    _setting("--dry-run", "false", parse_switch, "Decide and tell, and resize nothing.", switch=True),
    _setting(
        "--enabled",
        "true",
        parse_switch,
        "false: observe and export, and resize nothing.",
        variable="CELERY_AUTOSCALE_ENABLED",
    ),
)

ALL = (*REDIS, *SCOPE, *PARAMETERS, *LATENCY, *SHRINK, *RUN)

#: What ``autoscaler keda`` needs beside these.
KEDA = (
    _setting("--keda-listen", DEFAULT_KEDA_LISTEN, parse_listen, "Address that KEDA speaks to, by gRPC."),
    _setting(
        "--processes-per-worker",
        "",
        _whole(1, MAX_PROCESSES, "processes"),
        "Processes that one worker can hold, where a ScaledObject does not say; else what the workers tell.",
    ),
    _setting(
        "--scale-in",
        "idle",
        _one_of("idle", "spare"),
        "idle: no smaller fleet while any task runs. spare: not fewer workers than hold tasks.",
    ),
)


def load(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings from flags (by key; None where not given) and the environment.

    Raises:
        ConfigError: with every fault.
    """
    faults: list[str] = []
    values = {setting.key: _read(setting, flags.get(setting.key), environment, faults) for setting in ALL}
    read_redis_url = _redis_source(values, faults)
    scope = Scope(workers=frozenset(values["worker"] or ()), queues=frozenset(values["queue"] or ()))
    policy = _policy(values, faults)
    container = _container(values, scope, faults)
    targets = dict(values["target_wait"])
    named = [parameter.flag for parameter in THRESHOLDS if _given(parameter, flags, environment)]
    by_thresholds = targets.get("", 0.0) is None or (named and not _given(TARGET_WAIT, flags, environment))
    if None in targets.values() and (len(targets) > 1 or values["shadow"] == "latency"):
        faults.append("--target-wait is off and a target is wanted too; leave out the one or the other")
    if faults or policy is None:
        raise ConfigError(faults)
    parameters = _latency(values, targets)
    shadow = parameters if values["shadow"] == "latency" else None
    return Settings(
        read_redis_url=read_redis_url,
        policy=policy,
        scope=scope,
        mode=Mode.DISABLED if not values["enabled"] else Mode.DRY_RUN if values["dry_run"] else Mode.ACT,
        name=values["name"] or (next(iter(scope.workers)) if len(scope.workers) == 1 else "default"),
        interval_seconds=values["interval"],
        inspect_timeout_seconds=values["inspect_timeout"],
        listen=values["listen"],
        log_format=values["log_format"],
        log_level=values["log_level"],
        layout=KeyLayout(
            prefix=values["global_keyprefix"] or "",
            separator=values["queue_separator"],
            priority_steps=values["priority_steps"],
        ),
        tuning=RedisTuning(
            max_connections=values["redis_max_connections"],
            socket_timeout_seconds=values["redis_socket_timeout"],
            connect_timeout_seconds=values["redis_connect_timeout"],
            health_check_interval_seconds=values["redis_health_check_interval"],
            client_name=values["redis_client_name"],
        ),
        container=container,
        quiesces=values["shrink_without_companion"] == "quiesce",
        quiesce_deadline_seconds=values["quiesce_deadline"],
        latency=None if shadow or by_thresholds else parameters,
        shadow=shadow,
        target_waits={queue: seconds for queue, seconds in targets.items() if queue and seconds},
    )


def load_keda(flags: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The values of :data:`KEDA` by their keys.

    Raises:
        ConfigError: with every fault.
    """
    faults: list[str] = []
    values = {setting.key: _read(setting, flags.get(setting.key), environment, faults) for setting in KEDA}
    if faults:
        raise ConfigError(faults)
    return values


def _latency(values: Mapping[str, Any], targets: Mapping[str, float | None]) -> TargetWaitPolicy:
    return TargetWaitPolicy(
        target_wait_seconds=targets.get("") or TargetWaitPolicy().target_wait_seconds,
        start_worth_seconds=values["start_worth"],
        release_caution=values["release_caution"],
    )


def _given(setting: Setting, flags: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    return flags.get(setting.key) not in (None, ()) or environment.get(setting.variable, "") != ""


def load_policy(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Policy:
    """The parameters alone, for commands that connect to nothing.

    Raises:
        ConfigError: with every fault.
    """
    faults: list[str] = []
    values = {
        setting.key: _read(setting, flags.get(setting.key), environment, faults) for setting in PARAMETERS
    }
    policy = _policy(values, faults)
    if faults or policy is None:
        raise ConfigError(faults)
    return policy


def _read(setting: Setting, flag: Any, environment: Mapping[str, str], faults: list[str]) -> Any:
    """A setting's value, or None where it has none or a fault was noted."""
    given = flag not in (None, ())
    source = setting.flag if given else setting.variable
    text = flag if given else environment.get(setting.variable, "")
    if text in ("", None):
        text, source = setting.default, setting.flag
    words = list(text) if isinstance(text, tuple) else str(text).split() if setting.many else [str(text)]
    values = []
    for word in words:
        if word == "" and setting.default == "" and not given:
            continue
        try:
            values.append(setting.parse(word))
        except ValueError as fault:
            faults.append(f"{source} is {word[:60]!r}; {fault}")
    if setting.many:
        return tuple(values)
    return values[0] if values else None


def _policy(values: Mapping[str, Any], faults: list[str]) -> Policy | None:
    parameters = {
        parameter.name: values[_flag_of(parameter.name)[2:].replace("-", "_")] for parameter in fields(Policy)
    }
    missing = [name for name, value in parameters.items() if value is None and name != "max_processes"]
    if missing:
        return None  # their faults are noted already
    try:
        return Policy(**parameters)
    except PolicyError as fault:
        names = "|".join(sorted(parameters, key=len, reverse=True))
        faults += [re.sub(rf"\b({names})\b", lambda match: _flag_of(match[1]), line) for line in fault.faults]
        return None


def _redis_source(values: Mapping[str, Any], faults: list[str]) -> Callable[[], str]:
    url, path = values["redis_url"], values["redis_url_file"]
    if url and path:
        faults.append("REDIS_URL and REDIS_URL_FILE are both set; keep one")
        return str
    if path and re.match(r"[a-z+]+:/", str(path)):
        # The message must not show it: the URL bears a password.
        faults.append("REDIS_URL_FILE is a URL; it must be the path of a file that holds one")
        return str
    if not url and not path:
        faults.append(
            "REDIS_URL is not set; give redis://HOST:6379/0 by --redis-url, REDIS_URL or REDIS_URL_FILE"
        )
        return str

    def read() -> str:
        return str(url) if url else read_secret(path)

    try:
        parse_redis_url(read())
    except (RedisUrlError, OSError) as fault:
        # An OSError names the file and never its content.
        faults.append(str(fault) if isinstance(fault, RedisUrlError) else f"REDIS_URL_FILE: {fault}")
    return read


def read_secret(path: Path) -> str:
    """The one line in a file of a secret.

    Raises:
        OSError: where it cannot be read.
    """
    return path.read_text(errors="replace").strip()


def _container(values: Mapping[str, Any], scope: Scope, faults: list[str]) -> ContainerSource | None:
    stated = ("cpu_limit", "memory_limit", "limits_folder", "worker_pid")
    given = [key for key in stated if values[key] is not None]
    if not given:
        return None
    if len(scope.workers) != 1:
        flags = ", ".join("--" + key.replace("_", "-") for key in given)
        faults.append(f"{flags} speaks of one worker's container; name it with exactly one --worker")
        return None
    return ContainerSource(
        cpu_limit_cores=values["cpu_limit"],
        memory_limit_bytes=values["memory_limit"],
        limits_folder=values["limits_folder"],
        worker_pid=values["worker_pid"],
    )
