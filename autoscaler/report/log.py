"""Structured logging: events with values, as JSON or for a terminal, with every secret taken out."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMATS = ("auto", "json", "console")


def get_logger(
    *, level: str, style: str, redact: Callable[[str], str], stream: TextIO | None = None
) -> FilteringBoundLogger:
    """A logger that writes to ``stream`` (standard error). ``style`` ``auto`` is console on a terminal."""
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            lambda _logger, _name, event: _redacted(event, redact),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    )
    return logger


def _redacted(event: EventDict, redact: Callable[[str], str]) -> EventDict:
    return {key: clean(value, redact) for key, value in event.items()}


def clean(value: Any, redact: Callable[[str], str]) -> Any:
    """``value`` with every text in it passed through ``redact``: mappings and sequences to any depth.

    A key that is an identifier is a word of our own, whatever the password: it stays, or a password
    ``worker`` would rename the keys of the status.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {_clean_key(str(key), redact): clean(part, redact) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(part, redact) for part in value]
    return redact(str(value))


def _clean_key(key: str, redact: Callable[[str], str]) -> str:
    return key if key.isidentifier() else redact(key)
