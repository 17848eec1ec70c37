"""Loaded by a worker under test: where it is asked to, it kills the daemon over its next resize, and stops.

So the command has been published for certain, and its outcome has for certain not been gathered.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.worker.control import Panel, control_command

import autoscaler.companion  # noqa: F401 - its commands
from tests.support.worker_app import ledger

#: Before the worker resizes, or after it has and before it answers.
BEFORE, AFTER = "before", "after"

_resize = Panel.data["pool_resize"]


def key_of(worker: str) -> str:
    """Where the ledger says "MOMENT PID": when to stop, and whom to kill."""
    return f"stop:{worker}"


@control_command(name="pool_resize", args=[("size", int)])  # type: ignore[untyped-decorator]
def stopping_resize(state: Any, **arguments: Any) -> Any:
    """The companion's own, with a stop. The worker goes on by SIGCONT."""
    moment, _, pid = (ledger.getdel(key_of(state.hostname)) or b"").decode().partition(" ")
    if moment == BEFORE:
        _stop(int(pid))
    reply = _resize(state, **arguments)
    if moment == AFTER:
        _stop(int(pid))
    return reply


def _stop(daemon: int) -> None:
    os.kill(daemon, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGSTOP)
