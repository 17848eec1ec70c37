"""The one table of settings: each with its flag, its variable, its default and its parser.

Each setting is written here once. The commands make their flags from it, :mod:`autoscaler.settings.load`
reads it, and the documentation's table of options is generated from it. Nothing is read here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import MAX_PROCESSES, Policy
from autoscaler.report import log
from autoscaler.report.health import ALL_ADDRESSES, DEFAULT_LISTEN, parse_listen
from autoscaler.settings.parse import (
    number,
    one_of,
    parse_base_path,
    parse_fanout_prefix,
    parse_max,
    parse_name,
    parse_path,
    parse_pid,
    parse_separator,
    parse_size,
    parse_steps,
    parse_switch,
    parse_target_or_off,
    parse_worker,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_KEDA_LISTEN = f"{ALL_ADDRESSES}:9810"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its key in the code, its flag and its environment variable; the flag wins.

    ``parse`` turns the text into the value and raises ValueError with what is legal. A setting with ``many``
    takes its flag repeatedly, or words in the variable. One with ``switch`` is a flag without a value.
    ``metavar`` is the kind of value in the help: SECONDS, NUMBER, SIZE, TEXT, PATH or the legal words.
    """

    key: str
    flag: str
    variable: str
    default: str
    about: str
    parse: Callable[[str], Any]
    many: bool = False
    switch: bool = False
    metavar: str = "TEXT"


def flag_of(parameter: str) -> str:
    """The flag of a field of :class:`~autoscaler.core.policy.Policy`."""
    special = {"min_processes": "min", "max_processes": "max"}
    special |= {"memory_per_process_bytes": "memory-per-process"}
    special |= {"stabilization_seconds": "stabilization-window", "settle_seconds": "settle-time"}
    return "--" + special.get(parameter, parameter.removesuffix("_seconds").replace("_", "-"))


def _variable_of(flag: str) -> str:
    return "AUTOSCALER_" + flag.removeprefix("--").replace("-", "_").upper()


def _setting(
    flag: str, default: str, parse: Callable[[str], Any], about: str, *, variable: str = "", **more: Any
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
        meta, flag = parameter.metadata, flag_of(parameter.name)
        default = "" if parameter.default is None else f"{parameter.default:g}"
        if parameter.name == "max_processes":
            parse: Callable[[str], Any] = parse_max
            default = "auto"
        elif meta["unit"] == "bytes":
            parse = parse_size
        elif meta["unit"] == "processes":
            parse = whole(meta["low"], meta["high"], meta["unit"])
        else:
            parse = number(meta["low"], meta["high"], meta["unit"])
        found.append(_setting(flag, default, parse, meta["about"], metavar=_metavar(meta["unit"])))
    return tuple(found)


def _metavar(unit: str) -> str:
    return {"seconds": "SECONDS", "bytes": "SIZE"}.get(unit, "NUMBER")


PARAMETERS = _parameters()
_OF_THE_THRESHOLDS = ("scale_up_", "scale_down_threshold", "scale_down_delay", "stabilization_", "max_step_")
#: Used by the thresholds only: naming one of them without --target-wait selects the thresholds.
THRESHOLDS = tuple(one for one in PARAMETERS if one.key.startswith(_OF_THE_THRESHOLDS))


def _target_wait_parameter(flag: str, name: str) -> Setting:
    parameter = TargetWaitPolicy.__dataclass_fields__[name]
    meta = parameter.metadata
    parse = number(meta["low"], meta["high"], meta["unit"])
    return _setting(flag, f"{parameter.default:g}", parse, meta["about"], metavar=_metavar(meta["unit"]))


TARGET_WAIT = _setting(
    "--target-wait",
    "5s",
    parse_target_or_off,
    "Start every task within this time; mails=30s for one queue (repeatable). off: thresholds decide.",
    many=True,
    metavar="SECONDS",
)
#: How many processes the target wait needs.
DEMAND = (
    TARGET_WAIT,
    _setting(
        "--shadow",
        "none",
        one_of("none", "target-wait", "latency"),
        "target-wait (or latency): the thresholds decide, and the metrics show what --target-wait would do.",
        metavar="none|target-wait",
    ),
    _target_wait_parameter("--start-worth", "start_worth_seconds"),
    _target_wait_parameter("--release-caution", "release_caution"),
)

#: How a worker without the companion may be shrunk.
SHRINK = (
    _setting(
        "--shrink-without-companion",
        "idle",
        one_of("idle", "quiesce"),
        "idle: only while idle. quiesce: stop its consumers, wait until it is empty, shrink, resume.",
        metavar="idle|quiesce",
    ),
    _setting(
        "--quiesce-deadline",
        "60",
        number(2, 3600),
        "Seconds that a worker may take to become empty before it consumes again without a shrink.",
        metavar="SECONDS",
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
        metavar="URL",
    ),
    _setting(
        "--redis-url-file",
        "",
        parse_path,
        "A file that holds the URL; read again after an error.",
        variable="REDIS_URL_FILE",
        metavar="PATH",
    ),
    _setting(
        "--redis-max-connections",
        "10",
        whole(2, 10_000, "connections"),
        "Maximum number of connections of the daemon.",
        metavar="NUMBER",
    ),
    _setting(
        "--redis-socket-timeout",
        "3",
        number(1.5, 60),
        "Seconds that Redis may take to answer.",
        metavar="SECONDS",
    ),
    _setting(
        "--redis-connect-timeout",
        "2",
        number(0.1, 60),
        "Seconds that connecting to Redis may take.",
        metavar="SECONDS",
    ),
    _setting(
        "--redis-health-check-interval",
        "25",
        number(0, 3600),
        "Idle seconds after which a connection is checked before use.",
        metavar="SECONDS",
    ),
    _setting("--redis-client-name", "autoscaler", parse_name, "The name in Redis's CLIENT LIST."),
    _setting("--global-keyprefix", "", str, "kombu's global_keyprefix of the Celery application."),
    _setting("--queue-separator", r"\x06\x16", parse_separator, "kombu's sep between queue and priority."),
    _setting(
        "--control-exchange",
        "",
        parse_name,
        "Celery's control_exchange (repeatable); none: celery, or wherever workers are found.",
        many=True,
    ),
    _setting(
        "--fanout-prefix",
        "auto",
        parse_fanout_prefix,
        "kombu's fanout_prefix; none: it is switched off. auto: /{db}. or none, whichever workers answer to.",
    ),
    _setting("--priority-steps", "0,3,6,9", parse_steps, "kombu's priority_steps.", metavar="NUMBERS"),
)

#: Which workers and queues are observed, and which workers may be resized.
SCOPE = (
    _setting("--worker", "", parse_worker, "Worker to resize (repeatable); none: every worker.", many=True),
    _setting(
        "--queue",
        "",
        parse_name,
        "Queue to count (repeatable); none: every queue that the workers consume.",
        many=True,
    ),
    _setting(
        "--name",
        "",
        parse_name,
        "Name of this autoscaler in Redis; by default that of the one --worker, or default.",
    ),
    _setting(
        "--inspect-timeout",
        "1.5",
        number(1, 30),
        "Seconds that workers may take to answer.",
        metavar="SECONDS",
    ),
    _setting(
        "--worker-pid",
        "",
        parse_pid,
        "The worker's process id in this PID namespace; auto finds it. With one --worker.",
        metavar="PID",
    ),
    _setting(
        "--cpu-limit",
        "",
        number(0.01, 10_000, "cores"),
        "The worker's CPU limit in cores. With one --worker.",
        metavar="NUMBER",
    ),
    _setting(
        "--memory-limit",
        "",
        parse_size,
        "The worker's memory limit, as in 512Mi. With one --worker.",
        metavar="SIZE",
    ),
    _setting(
        "--limits-folder",
        "",
        parse_path,
        "Folder of a downward-API volume with cpu_limit (divisor 1m) and memory_limit. With one --worker.",
        metavar="PATH",
    ),
)

#: How the daemon runs.
RUN = (
    _setting("--interval", "2", number(0.2, 300), "Seconds between two ticks.", metavar="SECONDS"),
    _setting("--min-interval", "0.5", number(0.1, 300), "The shortest, as tasks need it.", metavar="SECONDS"),
    _setting(
        "--listen",
        DEFAULT_LISTEN,
        parse_listen,
        "Address of the page, /livez, /readyz, /metrics, /status and /history.",
        metavar="HOST:PORT",
    ),
    _setting(
        "--base-path",
        "",
        parse_base_path,
        "Path that a proxy puts in front of the page and leaves in the request, as in /autoscaler.",
        metavar="PATH",
    ),
    _setting(
        "--metrics-detail",
        "worker",  # without it an alert names queues and no worker: fewer series are a choice
        one_of("auto", "group", "worker"),
        "worker: series for each worker. group: only for workers that share queues; alerts name the queues"
        " then. auto: group above 200.",
        metavar="auto|group|worker",
    ),
    _setting(
        "--log-format",
        "auto",
        one_of(*log.FORMATS),
        "json, console, or auto: console on a terminal.",
        metavar="auto|json|console",
    ),
    _setting("--log-level", "info", one_of(*log.LEVELS), "Lowest level that is logged.", metavar="LEVEL"),
    _setting("--dry-run", "false", parse_switch, "Decide and report, and resize nothing.", switch=True),
    _setting(
        "--enabled",
        "true",
        parse_switch,
        "false: observe and export, and resize nothing.",
        variable="CELERY_AUTOSCALE_ENABLED",
        metavar="true|false",
    ),
)

#: All settings of the daemon.
ALL = (*REDIS, *SCOPE, *PARAMETERS, *DEMAND, *SHRINK, *RUN)

#: Only ``autoscaler keda`` has these.
KEDA = (
    _setting("--keda-listen", DEFAULT_KEDA_LISTEN, parse_listen, "gRPC address.", metavar="HOST:PORT"),
    _setting("--keda-tls-cert", "", parse_path, "Certificate of the gRPC server (PEM).", metavar="PATH"),
    _setting("--keda-tls-key", "", parse_path, "The key of that certificate (PEM).", metavar="PATH"),
    _setting("--keda-client-ca", "", parse_path, "Serve its clients alone (PEM).", metavar="PATH"),
    _setting("--keda-token-file", "", parse_path, "Answer calls with its token alone.", metavar="PATH"),
    _setting(
        "--processes-per-worker",
        "",
        whole(1, MAX_PROCESSES, "processes"),
        "Processes of one worker, where a ScaledObject does not say; else what the workers report.",
        metavar="NUMBER",
    ),
    _setting(
        "--scale-in",
        "idle",
        one_of("idle", "spare"),
        "idle: the fleet never shrinks while a task runs. spare: never fewer workers than hold tasks.",
        metavar="idle|spare",
    ),
    _setting(
        "--unacked-key",
        "unacked",
        parse_name,
        "kombu's unacked_key, where no worker has reported its own since the start.",
    ),
)

#: The headings of the help of ``run``, in its order, and the keys below each. What is in none comes last.
HELP_GROUPS = (
    ("Target wait", ("target_wait", "start_worth", "release_caution", "shadow")),
    ("Bounds", ("min", "max", "processes_per_core", "scale_down_cooldown")),
    ("Redis", tuple(setting.key for setting in REDIS)),
    (
        "Scope",
        (
            "worker",
            "queue",
            "name",
            "dry_run",
            "enabled",
            "interval",
            "min_interval",
            "inspect_timeout",
            "stale_after",
            "settle_time",
            "shrink_without_companion",
            "quiesce_deadline",
        ),
    ),
    ("Thresholds (used with --target-wait off)", tuple(setting.key for setting in THRESHOLDS)),
    (
        "Limits of the container",
        (
            "cpu_limit",
            "memory_limit",
            "limits_folder",
            "worker_pid",
            "cpu_high",
            "throttled_high",
            "memory_headroom",
            "memory_high",
            "memory_per_process",
        ),
    ),
    ("Output", ("listen", "base_path", "metrics_detail", "log_format", "log_level")),
    ("KEDA", tuple(setting.key for setting in KEDA)),
)


def pick(settings: tuple[Setting, ...], *keys: str) -> tuple[Setting, ...]:
    """The settings with these keys, in the order of the table."""
    return tuple(setting for setting in settings if setting.key in keys)
