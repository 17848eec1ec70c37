"""What the commands share: flags made from the table of settings, and how a command ends with a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autoscaler.settings.table import Setting

Command = Any


def options(settings: Sequence[Setting]) -> Callable[[Command], Command]:
    """Click options for settings: their text is parsed in :mod:`autoscaler.settings.table`, all faults at once."""

    def decorate(command: Command) -> Command:
        for setting in reversed(settings):
            shown = f" [default: {setting.default}]" if setting.default and not setting.switch else ""
            about = f"{setting.about}{shown} [env: {setting.variable}]"
            extra: dict[str, Any] = {"multiple": True} if setting.many else {}
            if setting.switch:
                extra = {"is_flag": True, "flag_value": "true", "type": str}
            command = click.option(setting.flag, setting.key, default=None, help=about, **extra)(command)
        return command

    return decorate


def parsed(setting: Setting, **changed: Any) -> Callable[[Command], Command]:
    """One click option of a setting that is parsed at once, for commands that read few; flag, then variable.

    ``changed`` are click's own keywords that differ, ``help`` and ``default`` above all.
    """

    def parse(_context: click.Context, _parameter: click.Parameter, text: str) -> Any:
        try:
            return setting.parse(text)
        except ValueError as fault:
            raise click.BadParameter(f"{text[:60]!r}; {fault}") from None

    plain = {
        "default": setting.default,
        "help": setting.about,
        "envvar": setting.variable,
        "show_envvar": True,
        "show_default": True,
        "metavar": "TEXT",
    }
    return click.option(setting.flag, setting.key, callback=parse, **{**plain, **changed})


def fail(lines: Sequence[str], code: int) -> NoReturn:
    """End the command: each fault is one line on standard error."""
    for line in lines:
        click.echo(f"autoscaler: {line}", err=True)
    raise SystemExit(code)
