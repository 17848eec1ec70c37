"""How a command line reports a usage error: in one line, with what is legal and what to do.

Click prints three lines for it, the usage, where the help is and then the error, and an error that repeats an
option shows the login of a URL in it. Click only: a health check loads this.
"""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from autoscaler.report.mask import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class UsageFault(click.ClickException):
    """A usage error as one line on standard error. Its exit code is 2."""

    exit_code = 2

    def __init__(self, program: str, message: str) -> None:
        super().__init__(message)
        self._program = program

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"{self._program}: {self.message}", file=file, err=file is None)


class OneLineGroup(click.Group):
    """A group whose usage errors, and those of the commands in it, are one line each."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; the nearest one is named where there is none."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            names = self.list_commands(ctx)
            nearest = _nearest(name, names) or f"commands: {', '.join(names)}"
            ctx.fail(f"there is no command {_quoted(name)}; {nearest}")
        return super().resolve_command(ctx, args)

    def make_context(self, info_name: str | None, *args: Any, **kwargs: Any) -> click.Context:
        """As click's, for what stands in front of the command."""
        with _one_line(info_name or ""):
            return super().make_context(info_name, *args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, for the command and what follows it."""
        with _one_line(ctx.command_path, ctx):
            return super().invoke(ctx)


@contextmanager
def _one_line(command: str, ctx: click.Context | None = None) -> Iterator[None]:
    """Raise click's usage errors within as one line. Some of them do not know of which command they are."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # its text is the whole help
        raise
    except click.UsageError as fault:
        if fault.ctx is None and ctx is not None:
            command = f"{ctx.command_path} {ctx.invoked_subcommand or ''}".strip()
        path = fault.ctx.command_path if fault.ctx else command
        line = _line(fault, f"see {path} --help")
        raise UsageFault(path.partition(" ")[0], " ".join(mask(line).split())) from None


def _line(fault: click.UsageError, see: str) -> str:
    if isinstance(fault, click.NoSuchOption):
        known = fault.ctx.command.params if fault.ctx else ()
        flags = [flag for one in known if isinstance(one, click.Option) for flag in one.opts]
        said = f"there is no option {fault.option_name}"
        return f"{said}; {_nearest(fault.option_name, [*flags, '--help']) or see}"
    if isinstance(fault, click.MissingParameter):
        return f"{_name(fault)} is missing; {see}"
    if isinstance(fault, click.BadParameter):
        return _value(fault, see)
    text = fault.message.rstrip(".")
    return text if "; " in text else f"{text[:1].lower()}{text[1:]}; {see}"


def _name(fault: click.BadParameter) -> str:
    """The option or argument as it is typed, or the variable that the value came from."""
    param, ctx = fault.param, fault.ctx
    if param is None or ctx is None:
        return str(fault.param_hint or "a value")
    if ctx.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.make_metavar(ctx)


def _value(fault: click.BadParameter, see: str) -> str:
    """Which value is not legal, and what is; a message of our own parsers begins with the value."""
    name, text = _name(fault), fault.message.rstrip(".")
    given, found, _ = text.partition(" is not ")
    kind = fault.param.type if fault.param else None
    if found and isinstance(kind, click.Choice):
        words = [str(one) for one in kind.choices]
        text = f"{given}; it must be one of {', '.join(words)}"
        if nearest := _nearest(given.strip("'"), words):
            text = f"{text}; {nearest}"
    elif found and isinstance(kind, click.IntRange | click.FloatRange):
        text = f"{given}; it must be {_range(kind)}"
    return f"{name} is {text}" if "; " in text else f"{name}: {text}; {see}"


def _range(kind: click.IntRange | click.FloatRange) -> str:
    number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
    low = f" {'above' if kind.min_open else 'from'} {kind.min}" if kind.min is not None else ""
    high = (
        f" {'below' if kind.max_open else 'to' if low.startswith(' from') else 'up to'} {kind.max}"
        if kind.max is not None
        else ""
    )
    both = " and" if low and high and kind.max_open else ""
    return f"{number}{low}{both}{high}"


def _nearest(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {found[0]}?" if found else ""


def _quoted(text: str) -> str:
    return repr(mask(text)[:60])
