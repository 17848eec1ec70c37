"""The group of commands. A command's module is imported when that command is called.

So ``autoscaler healthcheck``, which a kubelet gives one second, loads neither Celery nor Redis. Exit codes: 0
done, 1 Redis, a worker or another part of the outside world failed, 2 the settings have faults. Each fault is
one line on standard error, and none repeats the login of a URL.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from autoscaler import __version__
from autoscaler.settings.mask import mask

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Module and attribute of each command.
COMMANDS = {
    "run": "run:command",
    "once": "once:command",
    "check": "check:command",
    "check-worker": "check_worker:command",
    "status": "status:status",
    "events": "status:events",
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


@contextmanager
def _masked_errors() -> Iterator[None]:
    """Click's own messages repeat arguments and options: a URL put in a wrong place shows no login."""
    try:
        yield
    except click.ClickException as fault:
        fault.__dict__["message"] = mask(fault.message)  # declared final
        raise


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"autoscaler.cli.{module}"), attribute)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _masked_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _masked_errors():
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Size the pools of Celery workers by the work that waits, without losing a task."""
