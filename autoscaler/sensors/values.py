"""Values as others report them: read where they make sense, else None or empty. Never an error."""

from __future__ import annotations

from typing import Any

#: A float holds every whole number up to here; no size and no time comes near it.
_MAX_NUMBER = 2**53
#: No list and no text of a layout comes near these.
_MAX_ITEMS = 1000
_MAX_CHARACTERS = 200
_MAX_PRIORITY = 255
#: No mapping of names is read beyond so many.
MAX_NAMES = 32


def count(value: object) -> int | None:
    """A whole number of 0 or more."""
    if type(value) is int:  # as nearly all are: a report of a large fleet has tens of thousands
        return value if 0 <= value <= _MAX_NUMBER else None
    found = number(value)
    return None if found is None or found < 0 else int(found)


def number(value: object) -> float | None:
    """A number that a float holds exactly."""
    # JSON has these two types and no others, True is of neither; but it may have NaN, infinities and whole
    # numbers beyond any float.
    if (type(value) is float or type(value) is int) and abs(value) <= _MAX_NUMBER:
        return float(value)
    return None


def amount(value: object, highest: float = _MAX_NUMBER) -> float | None:
    """A number from 0 to ``highest``: no time, use or limit is below nothing."""
    if type(value) is float:
        return value if 0 <= value <= highest else None
    found = number(value)
    return found if found is not None and 0 <= found <= highest else None


def mapping(value: object) -> dict[str, Any]:
    """A mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """A list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """A text of reasonable length."""
    return value if isinstance(value, str) and len(value) <= _MAX_CHARACTERS else None


def names(value: object) -> tuple[str, ...]:
    """What a list names, sorted, each once: a worker that consumes a queue twice is still one consumer."""
    return tuple(sorted({str(one) for one in items(value)}))


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list, sorted, each once."""
    found = (text(one) for one in items(value)[:_MAX_ITEMS])
    return tuple(sorted({one for one in found if one}))


def switch(value: object) -> bool | None:
    """True or False."""
    return value if isinstance(value, bool) else None


def steps(value: object) -> tuple[int, ...]:
    """Priority steps, sorted, each once; empty where any of them makes no sense."""
    steps = items(value)
    if len(steps) > _MAX_PRIORITY + 1 or not all(
        type(step) is int and 0 <= step <= _MAX_PRIORITY for step in steps
    ):
        return ()
    return tuple(sorted(set(steps)))
