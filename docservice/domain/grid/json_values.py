"""Objects and lists of a JSON body, checked; what they hold is checked where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docservice.domain.grid.columns import GridError, shown
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
