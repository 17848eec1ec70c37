"""Parsers: the text of one setting to its value.

A parser takes one text and returns its value, or raises ``ValueError`` that says what is legal. It never
repeats the text; callers show it by :func:`autoscaler.report.mask.shown`. Nothing here reads the
environment, a file or the clock. Numbers are ASCII digits: what ``float`` and ``int`` accept beyond them
(``1_0``, digits of other scripts, surrounding spaces) is more often a mistake than intended.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NAME_LENGTH = 200
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,25})?|\.[0-9]{1,25})(?:[eE][+-]?[0-9]{1,3})?")
_SPAN = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|)")
_SPAN_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: What may follow a backslash; Python understands more, and warns of the rest.
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0\\tnr])")
_BASE_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,199}")
_SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def number(low: float, high: float, unit: str = "seconds") -> Callable[[str], float]:
    """A parser of decimal numbers from ``low`` to ``high``."""

    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
            raise ValueError(f"it must be a number from {low:g} to {high:g} ({unit})")
        return float(text)

    return parse


def whole(low: int, high: int, unit: str) -> Callable[[str], int]:
    """A parser of whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"it must be a whole number from {low} to {high} ({unit})")
        return int(text)

    return parse


def one_of(*legal: str) -> Callable[[str], str]:
    """A parser of a few words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in legal:
            raise ValueError(f"it must be one of {', '.join(legal)}")
        return text.lower()

    return parse


def parse_switch(text: str) -> bool:
    """``true`` or ``false`` in the usual spellings."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("it must be true or false")


def parse_max(text: str) -> int | None:
    """A number of processes, or None for ``auto``."""
    if text.lower() == "auto":
        return None
    try:
        return whole(1, MAX_PROCESSES, "processes")(text)
    except ValueError as fault:
        raise ValueError(f"{fault}, or auto") from None


def parse_name(text: str) -> str:
    """A short printable text."""
    if "://" in text:
        raise ValueError("it is a URL, and a name is needed")
    if not text.strip() or len(text) > MAX_NAME_LENGTH or not text.isprintable():
        raise ValueError(f"it must be 1 to {MAX_NAME_LENGTH} printable characters")
    return text


def parse_worker(text: str) -> str:
    """A worker's node name."""
    if "$(" in text:
        raise ValueError(
            "its $(...) was not replaced; Kubernetes replaces only variables that are defined before it: put "
            "that variable in front of it in env, or give the worker's name as it is, as in celery@HOST"
        )
    return parse_name(text)


def parse_steps(text: str) -> tuple[int, ...]:
    """Kombu's priority steps, in order."""
    words = [word for word in re.split(r"[,\s]+", text) if word]
    if not words or not all(re.fullmatch(r"[0-9]{1,3}", word) for word in words):
        raise ValueError("it must be whole numbers separated by commas, as in 0,3,6,9")
    return tuple(sorted({int(word) for word in words}))


def parse_separator(text: str) -> str:
    """Kombu's separator, its escapes replaced."""
    parts = _ESCAPE.split(text)
    escapes = _ESCAPE.findall(text)
    if any("\\" in part for part in parts):
        parts, escapes = [""], []
    separator = parts[0] + "".join(
        escape.encode().decode("unicode_escape") + part
        for escape, part in zip(escapes, parts[1:], strict=True)
    )
    if not separator:
        raise ValueError(r"it must be one or more characters; escapes such as \x06\x16 are understood")
    return separator


def parse_fanout_prefix(text: str) -> str | None:
    """Kombu's fanout_prefix: a text, empty for ``none``, and None for ``auto``."""
    if text.lower() in {"auto", "none"}:
        return None if text.lower() == "auto" else ""
    # A worker takes what stands before the first dot of a channel that begins with a slash for the prefix.
    if not re.fullmatch(r"/(?:[^.{}]|\{db\})*\.", text):
        raise ValueError(
            "it must be auto, none or a text as in /{db}. that begins with / and ends with its only ."
        )
    return text


def parse_size(text: str) -> int:
    """Bytes from ``512Mi``, ``2G`` or a plain number, as Kubernetes writes them."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([kmg]?i?)b?", text.strip().lower())
    if not match or match[2] not in _SIZE_UNITS or int(match[1]) == 0:
        raise ValueError("it must be bytes above 0, as in 512Mi, 2Gi or 536870912")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_path(text: str) -> Path:
    """A path.

    Raises:
        ValueError: for one that no file can have.
    """
    if "\x00" in text:
        raise ValueError("it must be a path, which has no NUL character")
    return Path(text)


def parse_base_path(text: str) -> str:
    """A path in front of another, without its last slash; empty for ``/``.

    Raises:
        ValueError: for one that an address cannot have as it is.
    """
    if not _BASE_PATH.fullmatch(text) or "//" in text or "/." in text:
        raise ValueError("it must be a path that begins with /, of letters, digits and - _ ~, as in /scaler")
    return text.rstrip("/")


def parse_pid(text: str) -> int | Literal["auto"]:
    """A process id, or ``auto``."""
    return "auto" if text.lower() == "auto" else whole(1, 2**22, "pid, or auto")(text)


def parse_span(text: str) -> float:
    """Seconds from ``30``, ``500ms``, ``30s``, ``5m``, ``2h`` or ``1d``."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("it must be a time, as in 30s, 5m, 2h or 1d")
    return float(match[1]) * _SPAN_UNITS[match[2]]


def parse_target(text: str) -> tuple[str, float]:
    """A queue's name, empty for all others, and its target wait in seconds, from ``mails=30s`` or ``5s``."""
    queue, _, time = text.rpartition("=")
    try:
        seconds = parse_span(time)
    except ValueError:
        seconds = None
    if seconds is None or "," in queue:
        raise ValueError("it must be a time, as in 5s, 500ms or 2m, for one queue as in mails=30s")
    bounds = TargetWaitPolicy.__dataclass_fields__["target_wait_seconds"].metadata
    if not bounds["low"] <= seconds <= bounds["high"]:
        raise ValueError(f"it must be from {bounds['low']:g} s to {bounds['high']:g} s")
    return queue, seconds


def parse_target_or_off(text: str) -> tuple[str, float | None]:
    """As :func:`parse_target`; ``off`` is no target for any queue."""
    return ("", None) if text.strip().lower() == "off" else parse_target(text)
