"""Conditions from values as they arrive from outside.

What belongs here: checking a value and bringing it to its one form. What may never enter: the syntax of a
client.

How it works: :func:`choices` turns a column, an operation and a raw value into alternatives, each a tuple of
conditions that must all hold; each kind of column has its function. Mostly that is one condition; a date
without a time is the whole day in UTC, and a decimal number is moved to the whole numbers around it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from docservice.domain import mail_number
from docservice.domain.grid.columns import VALUELESS_OPS, Column, GridError, Kind, Op, shown
from docservice.domain.grid.query import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from docservice.domain.grid.query import Choice, Value

MAX_CHARACTERS = 1000
_INTEGER_END = 2**63
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DAY = timedelta(days=1)
_WHOLE_OPS = frozenset({Op.EXACT, Op.NOT, Op.IEXACT, Op.INOT})
#: Matches no row: no alternative holds.
NOTHING: tuple[Choice, ...] = ()


def choices(column: Column, op: Op, raw: object, *, name: str) -> tuple[Choice, ...]:
    """The alternatives of a condition; ``name`` is what an error calls the value.

    Raises:
        GridError: when the column has no such operation, or the value is of a wrong type or form.
    """
    require_operation(column, op, name=name)
    return legal_choices(column, op, raw, name=name)


def require_operation(column: Column, op: Op, *, name: str) -> None:
    """Pass when the column has the operation; raises GridError."""
    if op not in column.operations:
        legal = ", ".join(column.operations)
        raise GridError(name, f"{column.name} can be filtered by {legal}, not by {op}")


def require_value(column: Column, op: Op, raw: str, *, name: str) -> None:
    """Pass unless a whole value of a column with few fixed ones is none of them; raises GridError.

    Compared with it, all rows or none would be left, which hides that it is mistyped. What a person types
    into a grid is not checked so: it is half a value for a while.
    """
    if column.values and op in _WHOLE_OPS:
        text = raw.lower() if op in (Op.IEXACT, Op.INOT) else raw
        if text not in column.values:
            raise GridError(name, f"one of {', '.join(column.values)} is needed, not {shown(raw)}")


def legal_choices(column: Column, op: Op, raw: object, *, name: str) -> tuple[Choice, ...]:
    """As :func:`choices`, for an operation that the column has; raises GridError for a wrong value."""
    if op in VALUELESS_OPS:
        return ((Condition(column.name, op),),)
    return _CHOICES[column.kind](column, op, raw, name)


def with_value(column: Column, op: Op, value: Value) -> Condition:
    """A condition with a value that is in its one form already."""
    if isinstance(value, str):
        return Condition(column.name, op, value, value)
    return Condition(column.name, op, value.isoformat() if isinstance(value, datetime) else str(value), value)


def span(column: Column, op: Op, begin: datetime, length: timedelta, *, name: str) -> tuple[Choice, ...]:
    """The alternatives of a comparison with a whole day or minute that starts at ``begin``."""
    try:
        end = begin + length
    except OverflowError as fault:
        raise GridError(name, "the last day of all has no end") from fault
    since, before = with_value(column, Op.FROM, begin), with_value(column, Op.BELOW, end)
    table: Mapping[Op, tuple[Choice, ...]] = {
        Op.EXACT: ((since, before),),
        Op.NOT: (
            (with_value(column, Op.BELOW, begin),),
            (with_value(column, Op.FROM, end),),
            (Condition(column.name, Op.BLANK),),
        ),
        Op.FROM: ((since,),),
        Op.ABOVE: ((with_value(column, Op.FROM, end),),),
        Op.TO: ((before,),),
        Op.BELOW: ((with_value(column, Op.BELOW, begin),),),
    }
    return table[op]


def _decimal(column: Column, op: Op, number: Decimal, *, name: str) -> tuple[Choice, ...]:
    """A comparison of whole numbers with a number that may lie between two of them."""
    if not number.is_finite() or not -_INTEGER_END < number < _INTEGER_END - 1:
        raise GridError(name, f"a number within 64 bits is needed, not {shown(float(number))}")
    low, high = math.floor(number), math.ceil(number)
    if low == high or op in (Op.TO, Op.ABOVE):
        return ((with_value(column, op, low),),)
    if op in (Op.FROM, Op.BELOW):
        return ((with_value(column, op, high),),)
    if op is Op.EXACT:
        return NOTHING
    return ((Condition(column.name, Op.FILLED),), (Condition(column.name, Op.BLANK),))


# Values


def read_text(name: str, raw: object) -> str:
    """A text of 1 to 1000 characters that Postgres can hold; raises GridError."""
    if not isinstance(raw, str):
        raise GridError(name, f"a text is needed, not {shown(raw)}")
    if not raw or len(raw) > MAX_CHARACTERS:
        raise GridError(name, f"1 to {MAX_CHARACTERS} characters are needed, not {len(raw)}")
    return storable_text(name, raw)


def storable_text(name: str, raw: str) -> str:
    """The text, when Postgres can hold it; raises GridError."""
    if "\x00" in raw or not (raw.isascii() or _encodable(raw)):
        raise GridError(name, "NUL and unpaired surrogates are not text")
    return raw


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_integer(name: str, raw: object) -> int:
    """A whole number of at most 64 bits, from a number or from ASCII digits; raises GridError."""
    if isinstance(raw, str) and _INTEGER.fullmatch(raw):
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not -_INTEGER_END <= raw < _INTEGER_END:
        raise GridError(name, f"a whole number of at most 64 bits is needed, not {shown(raw)}")
    return raw


def read_number(name: str, raw: object) -> int | Decimal:
    """A whole or decimal number, also when written as a text; raises GridError."""
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return raw if isinstance(raw, int) else Decimal(raw)
    if isinstance(raw, str) and raw.isascii() and "_" not in raw:
        try:
            number = Decimal(raw.strip())
        except InvalidOperation:
            number = Decimal("nan")
        if number.is_finite():
            return number
    raise GridError(name, f"a number is needed, not {shown(raw)}")


def read_datetime(name: str, raw: object) -> datetime:
    """A moment in UTC, from an ISO 8601 text; without a zone it is UTC; raises GridError."""
    text = raw.strip() if isinstance(raw, str) else ""
    if "T" in text:
        text = text.replace(" ", "+")  # what a "+" in a query string arrives as
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise GridError(
            name, f"a date or a time such as 2026-01-31T12:00:00Z is needed, not {shown(raw)}"
        ) from fault


def _texts(column: Column, op: Op, raw: object, name: str) -> tuple[Choice, ...]:
    return ((with_value(column, op, read_text(name, raw)),),)


def _searched_texts(column: Column, op: Op, raw: object, name: str) -> tuple[Choice, ...]:
    return _texts(column, op, raw.strip() if isinstance(raw, str) else raw, name)


def _mail_numbers(column: Column, op: Op, raw: object, name: str) -> tuple[Choice, ...]:
    text = read_text(name, raw)
    try:
        number = mail_number.normalise(text)
    except mail_number.MailNumberError as fault:
        raise GridError(name, str(fault)) from fault
    return ((with_value(column, op, number),),)


def _integers(column: Column, op: Op, raw: object, name: str) -> tuple[Choice, ...]:
    if isinstance(raw, (float, Decimal)):
        return _decimal(column, op, Decimal(raw), name=name)
    return ((with_value(column, op, read_integer(name, raw)),),)


def _times(column: Column, op: Op, raw: object, name: str) -> tuple[Choice, ...]:
    if isinstance(raw, str) and _DATE.fullmatch(raw.strip()):
        return span(column, op, read_datetime(name, raw), _DAY, name=name)
    return ((with_value(column, op, read_datetime(name, raw)),),)


_CHOICES: Mapping[Kind, Callable[[Column, Op, object, str], tuple[Choice, ...]]] = {
    Kind.MAIL_NUMBER: _mail_numbers,
    Kind.TEXT: _texts,
    Kind.SET: _texts,
    Kind.DOCUMENT_TEXT: _searched_texts,
    Kind.INTEGER: _integers,
    Kind.DATETIME: _times,
}
