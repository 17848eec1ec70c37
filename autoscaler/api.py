"""What the document service may use of the autoscaler, and nothing else of it.

An allow-list: Redis URL and connections, remote control, resize, drain, overrides. The import contracts in
``pyproject.toml`` let ``docservice`` import this module alone. Everything here is defined elsewhere.
"""

from __future__ import annotations

from autoscaler.broker import override_changes
from autoscaler.broker.connections import (
    Redactor,
    RedisTuning,
    RedisUrl,
    RedisUrlError,
    kombu_options,
    parse_redis_url,
    redis_client,
)
from autoscaler.broker.keys import (
    CANCELLED_KEY,
    Keys,
    OverrideError,
    OverrideRequest,
    read_override,
    read_status,
    write_override,
)
from autoscaler.control.consumers import Consumers
from autoscaler.control.drain import Drain, DrainError, Phase, Progress, refuse
from autoscaler.control.remote import Remote
from autoscaler.control.resize import WorkerResizer
from autoscaler.core.model import Outcome, Result, WorkerReading
from autoscaler.core.policy import MAX_PROCESSES
from autoscaler.sensors.queues import MAILBOXES_KEY, parse_mailbox
from autoscaler.sensors.workers import ask

__all__ = [
    "CANCELLED_KEY",
    "MAILBOXES_KEY",
    "MAX_PROCESSES",
    "Consumers",
    "Drain",
    "DrainError",
    "Keys",
    "Outcome",
    "OverrideError",
    "OverrideRequest",
    "Phase",
    "Progress",
    "Redactor",
    "RedisTuning",
    "RedisUrl",
    "RedisUrlError",
    "Remote",
    "Result",
    "WorkerReading",
    "WorkerResizer",
    "ask",
    "kombu_options",
    "override_changes",
    "parse_mailbox",
    "parse_redis_url",
    "read_override",
    "read_status",
    "redis_client",
    "refuse",
    "write_override",
]
