"""What the document service may use of the autoscaler, and nothing else of it.

An allow-list: Redis URL and connections, remote control, resize, drain, overrides, traces, and how a command
line reports a usage error. The import contracts in ``pyproject.toml`` let ``docservice`` import this module
alone. Everything here is defined elsewhere.
"""

from __future__ import annotations

from autoscaler.broker import override_changes
from autoscaler.broker.connections import (
    Redactor,
    RedisTuning,
    client_options,
    kombu_options,
    redis_client,
    sentinel_options,
    tls_options,
)
from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.broker.keys import CANCELLED_KEY, Keys, read_status
from autoscaler.broker.mailboxes import MAILBOXES_KEY, parse_mailbox, read_mailboxes
from autoscaler.broker.overrides import (
    NEVER,
    OverrideError,
    OverrideRequest,
    read_override,
    write_override,
)
from autoscaler.broker.url import RedisUrl, RedisUrlError, parse_redis_url
from autoscaler.control.consumers import Consumers
from autoscaler.control.drain import Drain, DrainError, Phase, Progress, refuse
from autoscaler.control.remote import Remote
from autoscaler.control.resize import ResizeRequest, WorkerResizer, refusal
from autoscaler.core.model import Outcome, Result, WorkerReading
from autoscaler.core.policy import MAX_PROCESSES
from autoscaler.report.spans import ActiveSpan, NoTraces, Span, Traces
from autoscaler.report.traces import start_traces, traces_fault
from autoscaler.report.usage import OneLineGroup
from autoscaler.sensors.workers import ask

__all__ = [
    "CANCELLED_KEY",
    "MAILBOXES_KEY",
    "MAX_PROCESSES",
    "NEVER",
    "ActiveSpan",
    "BrokerError",
    "Consumers",
    "Drain",
    "DrainError",
    "Keys",
    "NoTraces",
    "OneLineGroup",
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
    "ResizeRequest",
    "Result",
    "Span",
    "Traces",
    "WorkerReading",
    "WorkerResizer",
    "ask",
    "broker_errors",
    "client_options",
    "kombu_options",
    "override_changes",
    "parse_mailbox",
    "parse_redis_url",
    "read_mailboxes",
    "read_override",
    "read_status",
    "redis_client",
    "refusal",
    "refuse",
    "sentinel_options",
    "start_traces",
    "tls_options",
    "traces_fault",
    "write_override",
]
