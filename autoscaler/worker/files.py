"""Reads of the kernel's small files: one error for whatever is unreadable, and the numbers found in them.

What belongs here: opening a file of ``/proc``, ``/sys`` or a control group, and the numbers in its text. What
may never enter: knowledge of a particular file. Standard library only, Python 3.9.

Paths are strings: with pathlib's joins and readers a reading took four times as long.
"""

from __future__ import annotations

import os
from io import FileIO
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

#: The kernel counts in 64 bits.
_MAX_DIGITS = len(str(2**64 - 1))


class Unreadable(Exception):  # noqa: N818 - a fact that is reported, not an error of the program
    """Something that could not be read; the message is the fault, in one sentence."""

    @property
    def absent(self) -> bool:
        """Whether the file does not exist."""
        return isinstance(self.__cause__, FileNotFoundError)


def parse_count(text: str) -> int:
    """A file with one whole number, such as ``memory.current``.

    Raises:
        ValueError: for anything but a whole number of 0 or more and at most 20 digits.
    """
    try:
        return whole(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a whole number of 0 or more") from None


def parse_stat(text: str, key: str) -> int | None:
    """One value of a flat file such as ``memory.stat`` or ``cpu.stat``, or None where it has no such key.

    Raises:
        ValueError: where the value is not a whole number of 0 or more.
    """
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        if name == key:
            try:
                return whole(value)
            except ValueError:
                raise ValueError(f"{key} is {shown(value)}; legal is a whole number of 0 or more") from None
    return None


def parse_pressure(text: str) -> float:
    """The share of the last 10 s in which some task waited, 0 to 1.

    Args:
        text: a pressure file, such as ``memory.pressure`` or ``/proc/pressure/memory``:
            ``some avg10=1.25 avg60=...``.

    Raises:
        ValueError: where it has no such line, or no percentage in it.
    """
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")[0].partition("=")
        if kind == "some" and name == "avg10":
            units, _, hundredths = value.partition(".")
            try:
                percent = whole(units) + (whole(hundredths) / 10 ** len(hundredths) if hundredths else 0)
            except ValueError:
                break
            if percent <= 100:  # noqa: PLR2004 - per cent
                return percent / 100
    raise ValueError("it has no line 'some avg10=' with a percentage")


def read_value(path: str, parse: Callable[[str], _T]) -> _T:
    """The parsed text of a file.

    Raises:
        Unreadable: where the file cannot be read, or ``parse`` raises ValueError.
    """
    try:
        with FileIO(path) as file:
            text = os.fsdecode(file.readall())  # it may hold paths, of any bytes
    except OSError as error:
        raise Unreadable(f"{path!r} cannot be read: {error.strerror}") from error
    try:
        return parse(text)
    except ValueError as error:
        raise Unreadable(f"{path!r}: {error}") from error


def read_if_there(level: str, name: str, parse: Callable[[str], _T]) -> _T | None:
    """The value of a file that some groups lack: the root, and those that were not given the controller.

    Raises:
        Unreadable: where the file cannot be read, or the group itself is gone or masked.
    """
    try:
        return read_value(f"{level}/{name}", parse)
    except Unreadable as unreadable:
        # Each group has cgroup.procs: where that is missing too, the group has ended or is masked.
        if unreadable.absent and is_there(f"{level}/cgroup.procs"):
            return None
        raise


def read_stat(path: str, key: str) -> int:
    """One value of a flat file that has to be there.

    Raises:
        Unreadable: where the file cannot be read or lacks the key.
    """
    value = read_value(path, lambda text: parse_stat(text, key))
    if value is None:
        raise Unreadable(f"{path!r}: it has no line {key}")
    return value


def attempt(faults: list[str], read: Callable[..., _T], *arguments: Any) -> _T | None:
    """What ``read`` returns, or None with one more fault."""
    try:
        return read(*arguments)
    except Unreadable as unreadable:
        faults.append(str(unreadable))
        return None


def is_there(path: str) -> bool:
    """Whether a path exists."""
    try:
        return os.access(path, os.F_OK)
    except ValueError:  # a NUL in a path that was read
        return False


def whole(text: str) -> int:
    """A whole number of 0 or more in plain digits; ``int()`` takes signs, underscores and other scripts.

    Raises:
        ValueError: for anything else, and for more than 20 digits.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise ValueError
    return int(digits)


def positive(text: str) -> int:
    """A whole number above 0.

    Raises:
        ValueError: for anything else.
    """
    number = whole(text)
    if number == 0:
        raise ValueError
    return number


def shown(text: str) -> str:
    """The beginning of what was found, for a message."""
    return repr(text.strip()[:60])
