"""Objects and lists of a JSON body, checked; what they hold is checked where it is used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from docservice.domain.grid.columns import GridError, shown
from docservice.domain.grid.conditions import storable_text
from docservice.domain.grid.query import MAX_CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_object(name: str, raw: object) -> Mapping[str, Any]:
    """The value as an object; raises GridError."""
    if not isinstance(raw, dict):
        raise GridError(name, f"an object is needed, not {shown(raw)}")
    return raw


def read_list(name: str, raw: object) -> list[Any]:
    """The value as a list of bounded length; raises GridError."""
    if not isinstance(raw, list):
        raise GridError(name, f"a list is needed, not {shown(raw)}")
    if len(raw) > MAX_CONDITIONS:
        raise GridError(name, f"at most {MAX_CONDITIONS} items, not {len(raw)}")
    return raw


def check_storable(name: str, raw: object) -> None:
    """Pass a value that Postgres can hold as JSON, whatever is in it.

    Raises:
        GridError: for a text with NUL or half a character, a number that JSON has no form for, or one of
            more than 64 bits.
    """
    left = [raw]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += (*value, *value.values())
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str):
            storable_text(name, value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise GridError(name, f"a whole number of at most 64 bits is needed, not {shown(value)}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise GridError(name, f"a number is needed, not {shown(value)}")
