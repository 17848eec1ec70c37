"""The group of commands. A command's module is imported when that command is called.

So ``autoscaler healthcheck``, which a kubelet gives one second, loads neither Celery nor Redis. Exit codes: 0
done, 1 Redis, a worker or another part of the outside world failed, 2 the settings have faults. Each fault is
one line on standard error, and none repeats the login of a URL.
"""

from __future__ import annotations

import importlib

import click

from autoscaler import __version__
from autoscaler.report.usage import OneLineGroup

#: Module and attribute of each command.
COMMANDS = {
    "run": "run:command",
    "once": "once:command",
    "check": "check:command",
    "check-worker": "check_worker:command",
    "status": "status:status",
    "events": "status:events",
    "history": "history:command",
    "pause": "override:pause",
    "resume": "override:resume",
    "hold": "override:hold",
    "limits": "override:limits",
    "drain": "drain:command",
    "concurrency": "concurrency:command",
    "healthcheck": "healthcheck:command",
    "keda": "keda:command",
    "simulate": "simulate:command",
    "tune": "tune:command",
    "demo": "demo:command",
}


class _Group(OneLineGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"autoscaler.cli.{module}"), attribute)
        return command


@click.group(
    "autoscaler",
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Size the pools of Celery workers by the work that waits, without losing a task."""
