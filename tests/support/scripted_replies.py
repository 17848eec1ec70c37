"""Loaded into a real worker: it answers remote control as a test says, as a foreign or an older one would.

With ANSWERS_AS, a name in JSON, it takes commands to that name and answers by it, also where Redis cannot
hold it.

Each command answers as it always does, unless Redis has a script for it. ``merge`` changes the fields of the
reply (RFC 7386: null takes a field away), ``reply`` stands in its place and the command does not run.
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.worker.control import Panel
from celery.worker.pidbox import Pidbox

from tests.support.worker_app import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cluster import Cluster

SCRIPTS = "scripted-replies"
_COMMANDS = ("pool_report", "pool_resize", "active_queues")
#: Options of a worker that loads it, with the companion and without.
WITH_COMPANION = ("-I", "autoscaler.companion,tests.support.scripted_replies")
STOCK = ("-I", "tests.support.scripted_replies")


def script(cluster: Cluster, worker: str, command: str, **how: Any) -> None:
    """From now on the worker answers ``command`` by ``merge`` or ``reply``; with neither as always."""
    cluster.redis.hset(SCRIPTS, f"{worker} {command}", json.dumps(how))


def merged(reply: Any, changes: dict[str, Any]) -> Any:
    """The reply with these changes."""
    found = dict(reply) if isinstance(reply, dict) else {}
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value) if isinstance(value, dict) else value
    return found


def _answer(command: str, stock: Callable[..., Any], state: Any, **arguments: Any) -> Any:
    how = json.loads(ledger.hget(SCRIPTS, f"{state.hostname} {command}") or "{}")
    if "reply" in how:
        return how["reply"]
    reply = stock(state, **arguments)
    return merged(reply, how["merge"]) if "merge" in how else reply


for _name in _COMMANDS:
    if _name in Panel.data:
        Panel.data[_name] = partial(_answer, _name, Panel.data[_name])


def _answering_as(name: str, start: Callable[..., None]) -> Callable[..., None]:
    def started(box: Pidbox, consumer: Any) -> None:
        start(box, consumer)
        box.node.hostname = name

    return started


if "ANSWERS_AS" in os.environ:
    Pidbox.start = _answering_as(json.loads(os.environ["ANSWERS_AS"]), Pidbox.start)
