"""One question to a grid: the columns allowed, filters, sort, page and cursor.

The law of this module: values only. A :class:`GridQuery` is in normal form, so that equal questions are equal
values and share a cache entry, however they were written: as parameters of a GET (:func:`from_parameters`)
or as the body that grid components send (:func:`from_body`, with AG Grid's and MUI's field names). A column
or an operation that is not in the tables here never becomes SQL.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from docservice.domain import mail_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Value: TypeAlias = str | int | datetime

DEFAULT_LIMIT = 50
MOST_ROWS = 500
MOST_OFFSET = 1_000_000
MOST_FILTERS = 20
MOST_CONDITIONS = 50
MOST_SORTS = 5
MOST_CHARACTERS = 1000
_INTEGER_END = 2**63


class GridError(ValueError):
    """A question that cannot be answered; ``field`` names the part at fault."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.field = name


class Kind(StrEnum):
    """What a column holds, and so how it can be filtered."""

    MAIL_NUMBER = "mail_number"
    TEXT = "text"
    SET = "set"
    INTEGER = "integer"
    DATETIME = "datetime"


class Op(StrEnum):
    """What a condition asks of a column; the value is the suffix of a GET parameter."""

    EXACT = "exact"
    PREFIX = "prefix"
    CONTAINS = "contains"
    FROM = "from"  # at least
    ABOVE = "above"
    TO = "to"  # at most
    BELOW = "below"
    BLANK = "blank"
    FILLED = "filled"


_TEXT_OPS = (Op.EXACT, Op.PREFIX, Op.CONTAINS)
_RANGE_OPS = (Op.EXACT, Op.FROM, Op.ABOVE, Op.TO, Op.BELOW)
_OPS: Mapping[Kind, tuple[Op, ...]] = {
    Kind.MAIL_NUMBER: _TEXT_OPS,
    Kind.TEXT: _TEXT_OPS,
    Kind.SET: (Op.EXACT,),
    Kind.INTEGER: _RANGE_OPS,
    Kind.DATETIME: _RANGE_OPS,
}

# What a mail number can be found by, and what finds one of them.
_FINDING_OPS = frozenset(_TEXT_OPS)
_POINT_OPS = frozenset({Op.EXACT})
_OPS_BY_NAME = {"": Op.EXACT, **{op.value: op for op in Op}}
_PAGE_PARAMETERS = frozenset({"limit", "offset", "cursor", "sort"})
_ASKED_OF_NULL = (Op.BLANK, Op.FILLED)
_OPERATIONS = {kind: (*ops, *_ASKED_OF_NULL) for kind, ops in _OPS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the grid; its name is that of the table's column."""

    name: str
    kind: Kind
    label: str
    nullable: bool = False

    @property
    def operations(self) -> tuple[Op, ...]:
        """What its filters may ask."""
        return _OPERATIONS[self.kind]


def _table(*columns: Column) -> Mapping[str, Column]:
    return {column.name: column for column in columns}


#: Every column there is: nothing else can be shown, filtered or sorted.
COLUMNS = _table(
    Column(name="id", kind=Kind.INTEGER, label="Id"),
    Column(name="document_type", kind=Kind.SET, label="Type"),
    Column(name="mail_number", kind=Kind.MAIL_NUMBER, label="Mail number", nullable=True),
    Column(name="title", kind=Kind.TEXT, label="Title"),
    Column(name="sender", kind=Kind.TEXT, label="Sender", nullable=True),
    Column(name="file_name", kind=Kind.TEXT, label="File name"),
    Column(name="content_type", kind=Kind.SET, label="Content type"),
    Column(name="size_bytes", kind=Kind.INTEGER, label="Size in bytes"),
    Column(name="state", kind=Kind.SET, label="State"),
    Column(name="failure", kind=Kind.TEXT, label="Failure", nullable=True),
    Column(name="pages", kind=Kind.INTEGER, label="Pages", nullable=True),
    Column(name="parent_id", kind=Kind.INTEGER, label="Part of", nullable=True),
    Column(name="received_at", kind=Kind.DATETIME, label="Received"),
    Column(name="processed_at", kind=Kind.DATETIME, label="Processed", nullable=True),
)

_MAIL_NUMBERS = frozenset(name for name, column in COLUMNS.items() if column.kind is Kind.MAIL_NUMBER)


class Condition(NamedTuple):
    """One thing asked of a column's value."""

    op: Op
    text: str = ""  # the value in writing: gives every kind one order
    value: Value | None = None


class Filter(NamedTuple):
    """A column whose value meets at least one of the conditions."""

    column: str
    conditions: tuple[Condition, ...]

    @property
    def selective(self) -> bool:
        """Whether it finds by mail number, so that few rows are left and all of them can be counted."""
        return self._asks_of_mail_number(_FINDING_OPS)

    @property
    def point(self) -> bool:
        """Whether it asks for mail numbers exactly."""
        return self._asks_of_mail_number(_POINT_OPS)

    def _asks_of_mail_number(self, ops: frozenset[Op]) -> bool:
        if self.column not in _MAIL_NUMBERS:
            return False
        for item in self.conditions:  # noqa: SIM110 - for each request, and a generator costs more
            if item.op not in ops:
                return False
        return True


class Sort(NamedTuple):
    """A column to sort by; blanks come last either way."""

    column: str
    descending: bool = False


DEFAULT_SORT = (Sort(column="received_at", descending=True), Sort(column="id", descending=True))


@dataclass(frozen=True, kw_only=True)
class GridQuery:
    """A question in normal form. ``sort`` always ends in ``id``, so that no two rows are equal in it.

    ``after`` has the last row's value of each column of ``sort``: the page begins behind it.
    """

    module: str
    filters: tuple[Filter, ...] = ()
    sort: tuple[Sort, ...] = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    after: tuple[Value | None, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MOST_ROWS:
            raise GridError("limit", f"a page has 1 to {MOST_ROWS} rows, not {self.limit}")
        if not 0 <= self.offset <= MOST_OFFSET:
            raise GridError(
                "offset", f"0 to {MOST_OFFSET}, not {self.offset}; go further with the cursor of each page"
            )
        if self.after is not None and self.offset:
            raise GridError("cursor", "a page begins at a cursor or at an offset, not at both")
        if len(self.filters) > MOST_FILTERS:
            raise GridError(
                "filters", f"at most {MOST_FILTERS} columns are filtered, not {len(self.filters)}"
            )

    @property
    def selective(self) -> bool:
        """Whether a mail number narrows it down, so that its total is exact."""
        return any(part.selective for part in self.filters)

    @cached_property
    def point(self) -> bool:
        """Whether one mail number is asked for exactly: a look-up that costs less than a cache's."""
        for part in self.filters:  # noqa: SIM110 - as above
            if part.point:
                return True
        return False

    @cached_property
    def digest(self) -> str:
        """The same for equal questions and for no others."""
        return hashlib.sha256(repr(_texts(self)).encode()).hexdigest()[:32]


def _texts(query: GridQuery) -> tuple[object, ...]:
    conditions = tuple(
        (part.column, condition.op.value, condition.text)
        for part in query.filters
        for condition in part.conditions
    )
    sorts = tuple((sort.column, sort.descending) for sort in query.sort)
    return (conditions, sorts, query.limit, query.offset, query.after)


# Values


def _text(name: str, raw: object) -> str:
    if not isinstance(raw, str):
        raise GridError(name, f"a text is needed, not {_shown(raw)}")
    if not raw or len(raw) > MOST_CHARACTERS:
        raise GridError(name, f"1 to {MOST_CHARACTERS} characters are needed, not {len(raw)}")
    if "\x00" in raw or not (raw.isascii() or _encodable(raw)):
        raise GridError(name, "NUL and halves of surrogate pairs are no text")
    return raw


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(name: str, raw: object) -> int:
    if isinstance(raw, str) and len(raw) <= 20 and raw.isascii():  # noqa: PLR2004 - digits of a bigint
        with contextlib.suppress(ValueError):
            raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not -_INTEGER_END <= raw < _INTEGER_END:
        raise GridError(name, f"a whole number of at most 64 bits is needed, not {_shown(raw)}")
    return raw


def _datetime(name: str, raw: object) -> datetime:
    text = raw.strip() if isinstance(raw, str) else ""
    if "T" in text:
        text = text.replace(" ", "+")  # what a "+" in a query string arrives as
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise GridError(
            name, f"a date or a time such as 2026-01-31T12:00:00Z is needed, not {_shown(raw)}"
        ) from fault


def _mail_number(name: str, raw: object, form: Callable[[str], str] = mail_number.normalise) -> str:
    text = _text(name, raw)
    try:
        return form(text)
    except mail_number.MailNumberError as fault:
        raise GridError(name, str(fault)) from fault


def _part_of_mail_number(name: str, raw: object) -> str:
    return _mail_number(name, raw, mail_number.contained)


def _shown(raw: object) -> str:
    return ascii(raw)[:80]


_READERS: Mapping[Kind, Callable[[str, object], Value]] = {
    Kind.MAIL_NUMBER: _mail_number,
    Kind.TEXT: _text,
    Kind.SET: _text,
    Kind.INTEGER: _integer,
    Kind.DATETIME: _datetime,
}


class _Asked(NamedTuple):
    """An operation of a column, and what reads a value for it; None when it needs none."""

    column: Column
    op: Op
    read: Callable[[str, object], Value] | None

    def condition(self, name: str, raw: object) -> Condition:
        if self.read is None:
            return Condition(self.op)
        value = self.read(name, raw)
        if isinstance(value, str):
            return Condition(self.op, value, value)
        return Condition(self.op, value.isoformat() if isinstance(value, datetime) else str(value), value)


def _asked(column: Column, op: Op) -> _Asked:
    if op in _ASKED_OF_NULL:
        return _Asked(column, op, None)
    if column.kind is Kind.MAIL_NUMBER and op is Op.CONTAINS:
        return _Asked(column, op, _part_of_mail_number)
    return _Asked(column, op, _READERS[column.kind])


_ASKED = {(column.name, op): _asked(column, op) for column in COLUMNS.values() for op in column.operations}


def condition(column: Column, op: Op, raw: object, *, name: str) -> Condition:
    """One condition from a value as it came from outside; ``name`` is what it was called there.

    Raises:
        GridError: when the column has no such operation, or the value is of a wrong type or form.
    """
    return _legal(column, op, name).condition(name, raw)


def _legal(column: Column, op: Op, name: str) -> _Asked:
    asked = _ASKED.get((column.name, op))
    if asked is None:
        legal = ", ".join(column.operations)
        raise GridError(name, f"{column.name} can be filtered by {legal}, not by {op}")
    return asked


def _filter(column: str, conditions: Iterable[Condition]) -> Filter:
    distinct = tuple(conditions)
    if len(distinct) > 1:
        distinct = tuple(sorted(set(distinct)))
    if len(distinct) > MOST_CONDITIONS:
        raise GridError(column, f"at most {MOST_CONDITIONS} conditions for a column, not {len(distinct)}")
    return Filter(column, distinct)


def _normal_filters(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    found = [part for part in filters if part.conditions]
    return tuple(sorted(set(found)) if len(found) > 1 else found)


def _column(name: object, *, where: str) -> Column:
    column = COLUMNS.get(name) if isinstance(name, str) else None
    if column is None:
        raise GridError(where, f"there is no column {_shown(name)}; there are {', '.join(COLUMNS)}")
    return column


def _normal_sort(sorts: Sequence[Sort]) -> tuple[Sort, ...]:
    if not sorts:
        return DEFAULT_SORT
    if len(sorts) > MOST_SORTS:
        raise GridError("sort", f"at most {MOST_SORTS} columns to sort by, not {len(sorts)}")
    distinct = {sort.column: sort for sort in reversed(sorts)}
    kept = [sort for sort in sorts if distinct.get(sort.column) is sort]
    names = [sort.column for sort in kept]
    if "id" in names:  # whatever follows a unique column changes nothing
        return tuple(kept[: names.index("id") + 1])
    return (*kept, Sort(column="id", descending=kept[-1].descending))


# Cursors


def cursor_text(sort: tuple[Sort, ...], last: bytes | str) -> str:
    """The cursor behind a row, from the JSON list of its values in the order of ``sort``."""
    body = last.encode() if isinstance(last, str) else last
    return base64.urlsafe_b64encode(_signature(sort) + body).rstrip(b"=").decode()


def _signature(sort: tuple[Sort, ...]) -> bytes:
    written = ",".join(f"{'-' if part.descending else ''}{part.column}" for part in sort)
    return hashlib.sha256(written.encode()).digest()[:6]


def _after(sort: tuple[Sort, ...], cursor: object) -> tuple[Value | None, ...] | None:
    if cursor is None:
        return None
    try:
        text = cursor if isinstance(cursor, str) else ""
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = orjson.loads(raw[6:]) if raw[:6] == _signature(sort) else None
    except (binascii.Error, ValueError):
        values = None
    if not isinstance(values, list) or len(values) != len(sort):
        raise GridError(
            "cursor", "not the next_cursor of a page with the same sort; ask for the first page again"
        )
    return tuple(_cursor_value(COLUMNS[part.column], value) for part, value in zip(sort, values, strict=True))


def _cursor_value(column: Column, raw: object) -> Value | None:
    if raw is None and column.nullable:
        return None
    if column.kind is Kind.INTEGER:
        return _integer("cursor", raw)
    if column.kind is Kind.DATETIME:
        return _datetime("cursor", raw)
    if isinstance(raw, str) and not raw:
        return ""
    return _text("cursor", raw)


# The GET form


def from_parameters(module: str, parameters: Iterable[tuple[str, str]]) -> GridQuery:
    """The question of a GET: ``limit``, ``offset``, ``cursor``, ``sort``, and filters by column.

    ``state=received&state=failed`` means either, ``mail_number.prefix=MN-20`` an operation other than exact,
    ``title.blank=true`` or ``title.filled=false`` those without a title, ``sort=-received_at,title`` the
    latest first. ``module`` is in its one form already.

    Raises:
        GridError: for an unknown parameter, column or operation, or a wrong value.
    """
    page: dict[str, str] = {}
    found: list[tuple[_Asked, Condition]] = []
    for name, raw in parameters:
        if name in _PAGE_PARAMETERS:
            if name in page:
                raise GridError(name, "given more than once")
            page[name] = raw
            continue
        asked = _PARAMETERS.get(name) or _parameter(name)
        if asked.read is None:
            asked = _of_null(name, asked, raw)
        found.append((asked, asked.condition(name, raw)))
    sort = _normal_sort(_written_sorts(page["sort"])) if "sort" in page else DEFAULT_SORT
    return GridQuery(
        module=module,
        filters=_written_filters(found),
        sort=sort,
        limit=_integer("limit", page["limit"]) if "limit" in page else DEFAULT_LIMIT,
        offset=_integer("offset", page["offset"]) if "offset" in page else 0,
        after=_after(sort, page.get("cursor")),
    )


def _written_filters(found: list[tuple[_Asked, Condition]]) -> tuple[Filter, ...]:
    if len(found) == 1:  # most questions; nothing is to be joined or put in order
        [(asked, only)] = found
        return (Filter(asked.column.name, (only,)),)
    conditions: dict[tuple[str, Op], list[Condition]] = {}
    for asked, one in found:
        conditions.setdefault((asked.column.name, asked.op), []).append(one)
    return _normal_filters([_filter(column, given) for (column, _), given in conditions.items()])


def _parameter(name: str) -> _Asked:
    """What a parameter asks, by its name."""
    column_name, _, suffix = name.partition(".")
    column = _column(column_name, where=name[:80])
    op = _OPS_BY_NAME.get(suffix)
    if op is None:
        raise GridError(name[:80], f"no operation {_shown(suffix)}; there are {', '.join(Op)}")
    return _legal(column, op, name)


# Nearly all of them.
_PARAMETERS = {name if op is Op.EXACT else f"{name}.{op}": asked for (name, op), asked in _ASKED.items()}


def _of_null(name: str, asked: _Asked, raw: str) -> _Asked:
    if raw not in ("true", "false"):
        raise GridError(name, f"true or false is needed, not {_shown(raw)}")
    if raw == "true":
        return asked
    return _ASKED[asked.column.name, Op.FILLED if asked.op is Op.BLANK else Op.BLANK]


def _written_sorts(text: str) -> list[Sort]:
    parts = [part.strip() for part in text.split(",")] if text else []
    return [
        Sort(column=_column(part.removeprefix("-"), where="sort").name, descending=part.startswith("-"))
        for part in parts
    ]


# The POST form

_COMPONENT_OPS: Mapping[str, tuple[Op, ...]] = {
    # AG Grid
    "equals": (Op.EXACT,),
    "startsWith": (Op.PREFIX,),
    "contains": (Op.CONTAINS,),
    "greaterThan": (Op.ABOVE,),
    "greaterThanOrEqual": (Op.FROM,),
    "lessThan": (Op.BELOW,),
    "lessThanOrEqual": (Op.TO,),
    "blank": (Op.BLANK,),
    "notBlank": (Op.FILLED,),
    # MUI
    "is": (Op.EXACT,),
    "isAnyOf": (Op.EXACT,),
    "isEmpty": (Op.BLANK,),
    "isNotEmpty": (Op.FILLED,),
    "=": (Op.EXACT,),
    ">": (Op.ABOVE,),
    ">=": (Op.FROM,),
    "<": (Op.BELOW,),
    "<=": (Op.TO,),
    "after": (Op.ABOVE,),
    "onOrAfter": (Op.FROM,),
    "before": (Op.BELOW,),
    "onOrBefore": (Op.TO,),
}
_BODY_FIELDS = frozenset({"startRow", "endRow", "filterModel", "sortModel", "cursor", "paginationModel"})


def from_body(module: str, body: object) -> GridQuery:
    """The question of a POST, as grid components write it.

    ``startRow`` and ``endRow`` (the end excluded) or ``paginationModel`` (``page`` from 0, ``pageSize``);
    ``filterModel`` by column (AG Grid) or with ``items`` (MUI); ``sortModel`` with ``colId`` or ``field``.

    Raises:
        GridError: for an unknown field, column or operation, or a wrong value.
    """
    fields = _object("body", body)
    unknown = sorted(set(fields) - _BODY_FIELDS)
    if unknown:
        raise GridError(unknown[0][:80], f"no such field; there are {', '.join(sorted(_BODY_FIELDS))}")
    offset, limit = _page(fields)
    sort = _normal_sort(_component_sorts(fields.get("sortModel")))
    return GridQuery(
        module=module,
        filters=_component_filters(fields.get("filterModel")),
        sort=sort,
        limit=limit,
        offset=offset,
        after=_after(sort, fields.get("cursor")),
    )


def _object(name: str, raw: object) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise GridError(name, f"an object is needed, not {_shown(raw)}")
    return raw


def _list(name: str, raw: object) -> list[Any]:
    if not isinstance(raw, list):
        raise GridError(name, f"a list is needed, not {_shown(raw)}")
    if len(raw) > MOST_CONDITIONS:
        raise GridError(name, f"at most {MOST_CONDITIONS} items, not {len(raw)}")
    return raw


def _page(fields: Mapping[str, Any]) -> tuple[int, int]:
    if fields.get("paginationModel") is not None:
        if "startRow" in fields or "endRow" in fields:
            raise GridError("paginationModel", "give either this or startRow and endRow")
        model = _object("paginationModel", fields["paginationModel"])
        size = _integer("paginationModel.pageSize", model.get("pageSize", DEFAULT_LIMIT))
        return _integer("paginationModel.page", model.get("page", 0)) * size, size
    start = _integer("startRow", fields.get("startRow", 0))
    end = _integer("endRow", fields.get("endRow", start + DEFAULT_LIMIT))
    if not 1 <= end - start <= MOST_ROWS:
        raise GridError("endRow", f"1 to {MOST_ROWS} rows behind startRow, not {end - start}")
    return start, end - start


def _component_sorts(raw: object) -> list[Sort]:
    sorts = []
    for item in _list("sortModel", raw if raw is not None else []):
        part = _object("sortModel", item)
        column = _column(part.get("colId", part.get("field")), where="sortModel")
        direction = part.get("sort")
        if direction not in ("asc", "desc"):
            raise GridError("sortModel", f"sort is asc or desc, not {_shown(direction)}")
        sorts.append(Sort(column=column.name, descending=direction == "desc"))
    return sorts


def _component_filters(raw: object) -> tuple[Filter, ...]:
    model = _object("filterModel", raw if raw is not None else {})
    if isinstance(model.get("items"), list):
        return _item_filters(model)
    if len(model) > MOST_FILTERS:
        raise GridError("filterModel", f"at most {MOST_FILTERS} columns are filtered, not {len(model)}")
    filters: list[Filter] = []
    for name, written in model.items():
        column = _column(name, where="filterModel")
        filters += _column_filters(column, _object(f"filterModel.{column.name}", written))
    return _normal_filters(filters)


def _column_filters(column: Column, written: Mapping[str, Any]) -> list[Filter]:
    where = f"filterModel.{column.name}"
    if "values" in written:  # AG Grid's set filter; no value chosen matches no row there
        values = _list(f"{where}.values", written["values"])
        if not values:
            raise GridError(f"{where}.values", "at least one value is needed; leave the filter out for all")
        return [_filter(column.name, [_set_condition(column, value, where) for value in values])]
    if "operator" not in written:
        return [_filter(column.name, [part]) for part in _component_conditions(column, written, where)]
    parts = [
        _component_conditions(column, _object(where, part), where)
        for part in _list(f"{where}.conditions", written.get("conditions"))
    ]
    if written["operator"] == "AND":
        return [_filter(column.name, [part]) for group in parts for part in group]
    if written["operator"] != "OR" or any(len(group) != 1 for group in parts):
        raise GridError(f"{where}.operator", "AND, or OR of conditions other than inRange")
    return [_filter(column.name, [part for group in parts for part in group])]


def _set_condition(column: Column, value: object, where: str) -> Condition:
    if value is None:
        return condition(column, Op.BLANK, None, name=where)
    return condition(column, Op.EXACT, value, name=where)


def _component_conditions(column: Column, written: Mapping[str, Any], where: str) -> list[Condition]:
    kind = written.get("type")
    first = written.get("dateFrom") if written.get("dateFrom") is not None else written.get("filter")
    if kind == "inRange":
        last = written.get("dateTo") if written.get("dateTo") is not None else written.get("filterTo")
        return [
            condition(column, Op.FROM, first, name=where),
            condition(column, Op.TO, last, name=where),
        ]
    if not isinstance(kind, str) or kind not in _COMPONENT_OPS:
        raise GridError(
            f"{where}.type", f"no operation {_shown(kind)}; there are {', '.join(_COMPONENT_OPS)}"
        )
    return [condition(column, op, first, name=where) for op in _COMPONENT_OPS[kind]]


def _item_filters(model: Mapping[str, Any]) -> tuple[Filter, ...]:
    items = [_object("filterModel.items", item) for item in _list("filterModel.items", model["items"])]
    found: list[tuple[str, list[Condition]]] = []
    for item in items:
        column = _column(item.get("field"), where="filterModel.items.field")
        operator = item.get("operator")
        if not isinstance(operator, str) or operator not in _COMPONENT_OPS:
            raise GridError("filterModel.items.operator", f"no operation {_shown(operator)}")
        where = f"filterModel.items.{column.name}"
        raw = item.get("value")
        values = _list(where, raw) if operator == "isAnyOf" else [raw]
        ops = _COMPONENT_OPS[operator]
        found.append(
            (column.name, [condition(column, op, value, name=where) for op in ops for value in values])
        )
    if model.get("logicOperator", "and") == "and":
        return _normal_filters(_filter(column, conditions) for column, conditions in found)
    if len({column for column, _ in found}) > 1:
        raise GridError("filterModel.logicOperator", "or joins conditions of one column; use and")
    return _normal_filters(
        [_filter(column, [part for _, group in found for part in group]) for column, _ in found]
    )
