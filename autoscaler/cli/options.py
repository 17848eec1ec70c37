"""What the commands share: options made from the table of settings, their help, and how a command ends."""

from __future__ import annotations

import os
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import click

from autoscaler.report.mask import shown
from autoscaler.settings import table
from autoscaler.settings.load import ConfigError, Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autoscaler.settings.table import Setting

    _Function = Callable[..., Any]


class GroupedCommand(click.Command):
    """A command whose help lists its settings below the headings of the table, and its own options last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group that has options here."""
        left = {str(one.name): record for one in self.get_params(ctx) if (record := one.get_help_record(ctx))}
        for title, keys in table.HELP_GROUPS:
            records = [left.pop(key) for key in keys if key in left]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        with formatter.section("Other options"):
            formatter.write_dl(list(left.values()))


def with_settings(
    settings: Sequence[Setting], *, hidden: Sequence[Setting] = (), logs: bool = False
) -> Callable[[_Function], _Function]:
    """Give a command options for ``settings`` and, as the keyword ``settings``, their values.

    ``hidden`` settings have no option: they come from an argument of the same key, or from their variable.
    A command with ``logs`` reports unknown variables itself; for others they are lines on standard error.
    """

    def decorate(command: _Function) -> _Function:
        @wraps(command)
        def call(**given: Any) -> Any:
            keys = {setting.key for setting in (*settings, *hidden)}
            flags = {key: given.pop(key) for key in keys & given.keys()}
            try:
                found = load(flags, os.environ, (*settings, *hidden))
            except ConfigError as fault:
                fail(fault.faults, 2)
            if not logs:
                for line in unknown_variables(found):
                    click.echo(f"autoscaler: {line}", err=True)
            return command(settings=found, **given)

        decorated: _Function = call
        for setting in reversed(settings):
            decorated = _option(setting)(decorated)
        return decorated

    return decorate


def _option(setting: Setting) -> Callable[[_Function], _Function]:
    default = f" [default: {setting.default}]" if setting.default and not setting.switch else ""
    about = f"{setting.about}{default} [env: {setting.variable}]"
    extra: dict[str, Any] = {"metavar": setting.metavar}
    if setting.many:
        extra["multiple"] = True
    if setting.switch:
        extra = {"is_flag": True, "flag_value": "true", "type": str}
    return click.option(setting.flag, setting.key, default=None, help=about, **extra)


def unknown_variables(settings: Settings) -> list[str]:
    """One line for each variable of the environment that looks like a setting and is none."""
    return [
        f"{name} is not a setting and has no effect" + (f"; did you mean {nearest}?" if nearest else "")
        for name, nearest in settings.unknown_variables.items()
    ]


class Parsed(click.ParamType):  # type: ignore[type-arg]
    """A click type from a parser that raises ValueError with what is legal."""

    def __init__(self, parse: Callable[[str], Any], name: str = "text") -> None:
        self._parse = parse
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; click also passes defaults through here."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as fault:
            self.fail(f"{shown(value)}; {fault}", param, ctx)


def fail(lines: Sequence[str], code: int) -> NoReturn:
    """End the command: each fault is one line on standard error."""
    for line in lines:
        click.echo(f"autoscaler: {line}", err=True)
    raise SystemExit(code)


def missing_extra(package: str, extra: str) -> str:
    """What to run where an optional dependency is not installed."""
    return (
        f"{package} is not installed; run: pip install 'celery-pool-autoscaler[{extra}]'"
        f" (in a checkout: uv run --extra {extra} autoscaler ...)"
    )
