"""The columns of a grid and the operations that filter them.

What belongs here: one table of columns, in the order in which they are shown, and one table of operations by
kind of column. A column or an operation that is not in these tables never becomes SQL. To add a column, add
it to :data:`COLUMNS` and to the table ``documents`` with a migration; it is ``searched`` only if that
migration also adds it to the search index. What processing found wrong is a list, which no kind of column can
filter: only the document itself shows it. The text of a document is the other way round: it is filtered
(:data:`FILTERED`), and never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from docservice.domain.documents import DocumentType, State

if TYPE_CHECKING:
    from collections.abc import Mapping


class GridError(ValueError):
    """A query that cannot be answered; ``field`` names the part at fault."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.field = name


class Kind(StrEnum):
    """What a column holds, which decides how it can be filtered."""

    MAIL_NUMBER = "mail_number"
    TEXT = "text"
    SET = "set"
    INTEGER = "integer"
    DATETIME = "datetime"
    DOCUMENT_TEXT = "document_text"


class Op(StrEnum):
    """What a condition compares a column with; the value is the suffix of a GET parameter.

    Texts are compared by their code points; an operation with a leading ``i`` ignores letter case. ``NOT``,
    ``INOT``, ``NOT_CONTAINS`` and ``INOT_CONTAINS`` also match a blank value.
    """

    EXACT = "exact"
    PREFIX = "prefix"
    CONTAINS = "contains"
    SUFFIX = "suffix"
    NOT = "not"
    NOT_CONTAINS = "not_contains"
    IEXACT = "iexact"
    IPREFIX = "iprefix"
    ICONTAINS = "icontains"
    ISUFFIX = "isuffix"
    INOT = "inot"
    INOT_CONTAINS = "inot_contains"
    FROM = "from"  # greater than or equal
    ABOVE = "above"  # greater than
    TO = "to"  # less than or equal
    BELOW = "below"  # less than
    BLANK = "blank"
    FILLED = "filled"


#: Operations without a value.
VALUELESS_OPS = (Op.BLANK, Op.FILLED)
#: Operations that ignore letter case, by the one that does not.
IGNORING_CASE: Mapping[Op, Op] = {
    Op.EXACT: Op.IEXACT,
    Op.PREFIX: Op.IPREFIX,
    Op.CONTAINS: Op.ICONTAINS,
    Op.SUFFIX: Op.ISUFFIX,
    Op.NOT: Op.INOT,
    Op.NOT_CONTAINS: Op.INOT_CONTAINS,
}
_TEXT_OPS = tuple(IGNORING_CASE)
_RANGE_OPS = (Op.EXACT, Op.NOT, Op.FROM, Op.ABOVE, Op.TO, Op.BELOW)
_OPERATIONS: Mapping[Kind, tuple[Op, ...]] = {
    # A mail number is upper case wherever it is stored or searched, so letter case never matters.
    Kind.MAIL_NUMBER: (*_TEXT_OPS, *VALUELESS_OPS),
    Kind.TEXT: (*_TEXT_OPS, *IGNORING_CASE.values(), *VALUELESS_OPS),
    Kind.SET: (*_TEXT_OPS, *IGNORING_CASE.values(), *VALUELESS_OPS),
    Kind.INTEGER: (*_RANGE_OPS, *VALUELESS_OPS),
    Kind.DATETIME: (*_RANGE_OPS, *VALUELESS_OPS),
    Kind.DOCUMENT_TEXT: (Op.CONTAINS,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the grid; ``name`` is also that of the table's column.

    ``searched`` says that a quick filter looks in it. The search index has every such column that is not a
    time: one column without it would make each quick filter read the whole table. ``values`` has all that
    there can be, where they are few and fixed.
    """

    name: str
    kind: Kind
    label: str
    nullable: bool = False
    searched: bool = True
    values: tuple[str, ...] = ()

    @property
    def operations(self) -> tuple[Op, ...]:
        """The operations that its filters may use."""
        return _OPERATIONS[self.kind]

    @property
    def textual(self) -> bool:
        """Whether its values are texts."""
        return self.kind in (Kind.MAIL_NUMBER, Kind.TEXT, Kind.SET)


def _table(*columns: Column) -> Mapping[str, Column]:
    return {column.name: column for column in columns}


#: Every column there is: nothing else can be shown, filtered or sorted.
COLUMNS = _table(
    Column(name="id", kind=Kind.INTEGER, label="Id"),
    Column(name="document_type", kind=Kind.SET, label="Type", values=tuple(DocumentType)),
    Column(name="mail_number", kind=Kind.MAIL_NUMBER, label="Mail number", nullable=True),
    Column(name="title", kind=Kind.TEXT, label="Title"),
    Column(name="sender", kind=Kind.TEXT, label="Sender", nullable=True),
    Column(name="file_name", kind=Kind.TEXT, label="File name"),
    Column(name="content_type", kind=Kind.SET, label="Content type"),
    Column(name="size_bytes", kind=Kind.INTEGER, label="Size in bytes"),
    Column(name="state", kind=Kind.SET, label="State", values=tuple(State)),
    Column(name="failure", kind=Kind.TEXT, label="Failure", nullable=True),
    Column(name="pages", kind=Kind.INTEGER, label="Pages", nullable=True),
    Column(name="parent_id", kind=Kind.INTEGER, label="Part of", nullable=True),
    Column(name="received_at", kind=Kind.DATETIME, label="Received"),
    Column(name="processed_at", kind=Kind.DATETIME, label="Processed", nullable=True),
    Column(name="sent_at", kind=Kind.DATETIME, label="Sent", nullable=True),
    Column(name="to_addresses", kind=Kind.TEXT, label="To", nullable=True, searched=False),
    Column(name="cc_addresses", kind=Kind.TEXT, label="Cc", nullable=True, searched=False),
    Column(name="message_id", kind=Kind.TEXT, label="Message id", nullable=True, searched=False),
)


#: What was found in the file of a document. It is no column of a row: a text may be long.
TEXT = Column(name="text", kind=Kind.DOCUMENT_TEXT, label="Text", searched=False)
#: What can be filtered: every column, and the text.
FILTERED: Mapping[str, Column] = {**COLUMNS, TEXT.name: TEXT}


def column_named(name: object, *, where: str) -> Column:
    """The column with this name; ``where`` is what an error calls the place it was written.

    Raises:
        GridError: when there is none.
    """
    return _named(COLUMNS, name, where)


def filtered_column(name: object, *, where: str) -> Column:
    """As :func:`column_named`, of what can be filtered."""
    return _named(FILTERED, name, where)


def _named(columns: Mapping[str, Column], name: object, where: str) -> Column:
    column = columns.get(name) if isinstance(name, str) else None
    if column is None:
        raise GridError(where, f"there is no column {shown(name)}; there are {', '.join(columns)}")
    return column


def shown(raw: object) -> str:
    """A value from outside as an error message shows it: ASCII, at most 80 characters."""
    return ascii(raw)[:80]
