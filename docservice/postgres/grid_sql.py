"""The SQL of grids: written from a question's shape and the table of columns, never from a caller's words.

What differs between questions of one shape are values only. So a statement is written once for all of them,
and each of its arguments knows where its value stands in a question.

One statement gives the page, the total and the last row's place, all from one WHERE. Rows arrive as the JSON
that the caller is sent: for a page of 50 that costs the server 0.15 ms more and us 0.35 ms less than taking
them apart and writing them again.

Two plans. With a mail number: the matches, found and counted once, and the page of them. Without: the page by
index order, and a count that stops at 10,001.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TypeAlias

from docservice.domain import mail_number
from docservice.domain.grid import COLUMNS, Condition, Filter, GridQuery, Kind, Op, Sort, Value

#: Totals are exact up to here where no mail number narrows the rows down.
COUNTED_ROWS = 10_000
#: Where in a question an argument's value stands.
Source: TypeAlias = Callable[[GridQuery], Value]

_TYPES = {Kind.INTEGER: "bigint", Kind.DATETIME: "timestamptz"}
_COMPARISONS = {Op.EXACT: "=", Op.FROM: ">=", Op.ABOVE: ">", Op.TO: "<=", Op.BELOW: "<"}
_SHOWN = ", ".join(f"d.{name}" for name in COLUMNS)
# What a spreadsheet would run as a formula is shown as a text.
_FORMULA = r"^[=+\-@\t\r]"
# A prefix that begins with it may have no text above all that start with it.
_LAST = chr(0x10FFFF)


def shape(query: GridQuery) -> Hashable:
    """All that a statement hangs on but the values: equal for questions with the same statement."""
    return (
        tuple(
            [
                (part.column, tuple([(item.op, item.text[:1] == _LAST) for item in part.conditions]))
                for part in query.filters
            ]
        ),
        query.sort,
        query.limit,
        query.offset,
        None if query.after is None else tuple([value is None for value in query.after]),
    )


class Arguments:
    """The values that a statement is run with; each is bound once and named by its place."""

    def __init__(self, placeholder: Callable[[int, str], str]) -> None:
        self._placeholder = placeholder
        self.sources: list[Source] = []
        self.types: list[str] = []

    def bind(self, source: Source, sql_type: str) -> str:
        """Its name within the statement."""
        self.sources.append(source)
        self.types.append(sql_type)
        return self._placeholder(len(self.sources), sql_type)

    def values(self, query: GridQuery) -> list[Value]:
        """The values of one question, in the order of their places."""
        return [source(query) for source in self.sources]


def direct(place: int, sql_type: str) -> str:
    """An argument of the statement itself."""
    # Said for numbers: by itself it would be of its column's type, which may be too small for what is asked.
    return f"${place}::bigint" if sql_type == "bigint" else f"${place}"


def lookup(place: int, _sql_type: str) -> str:
    """An argument of one look-up among several in a statement."""
    return f"q.a{place}"


def _module(query: GridQuery) -> Value:
    return query.module


def _asked(part: int, item: int) -> Source:
    """The value of a filter's condition."""

    def source(query: GridQuery) -> Value:
        value = query.filters[part].conditions[item].value
        if value is None:
            raise ValueError(f"condition {item} of {query.filters[part].column} has no value")
        return value

    return source


def _text(part: int, item: int) -> Callable[[GridQuery], str]:
    return lambda query: query.filters[part].conditions[item].text


def _last(place: int) -> Source:
    """The last row's value of a column that is sorted by."""

    def source(query: GridQuery) -> Value:
        value = None if query.after is None else query.after[place]
        if value is None:
            raise ValueError(f"the cursor has no value for {query.sort[place].column}")
        return value

    return source


def where(query: GridQuery, arguments: Arguments, *, but: Filter | None = None) -> str:
    """The condition that rows, total and export share; ``but`` is a filter that is left to another place."""
    parts = [f"d.module = {arguments.bind(_module, 'text')}"]
    parts += [_any_of(place, part, arguments) for place, part in enumerate(query.filters) if part is not but]
    return " and ".join(parts)


def _table(query: GridQuery, arguments: Arguments) -> tuple[str, Filter | None]:
    """What is read from, and the filter that is done there.

    A plan that does not know the values takes a part of a mail number for common and reads the whole module.
    So the parts are looked up first, by the trigram index, behind a fence that no plan moves conditions over.
    """
    selective = [part for part in query.filters if part.selective]
    parts = [part for part in selective if any(item.op is Op.CONTAINS for item in part.conditions)]
    if not parts or len(parts) < len(selective):  # a prefix or an exact number narrows down better
        return "documents", None
    place = query.filters.index(parts[0])
    found = " or ".join(
        _by_trigrams(place, number, item, arguments) for number, item in enumerate(parts[0].conditions)
    )
    return f"(select * from documents d where {found} offset 0)", parts[0]


def _by_trigrams(part: int, number: int, item: Condition, arguments: Arguments) -> str:
    if item.op is Op.EXACT:
        return f"d.mail_number = {arguments.bind(_asked(part, number), 'text')}"
    return _like("mail_number", part, number, arguments, anywhere=item.op is Op.CONTAINS)


def _like(name: str, part: int, number: int, arguments: Arguments, *, anywhere: bool = True) -> str:
    text = _text(part, number)
    pattern = arguments.bind(lambda query: mail_number.like_pattern(text(query), anywhere=anywhere), "text")
    return f"d.{name} like {pattern}"


def _any_of(place: int, part: Filter, arguments: Arguments) -> str:
    column = COLUMNS[part.column]
    if len(part.conditions) > 1 and all(item.op is Op.EXACT for item in part.conditions):
        # One range of the index for each, in one scan.
        sql_type = _TYPES.get(column.kind, "text")
        values = [arguments.bind(_asked(place, number), sql_type) for number in range(len(part.conditions))]
        return f"d.{column.name} in ({', '.join(values)})"
    written = [
        _condition(place, number, column.name, item, arguments) for number, item in enumerate(part.conditions)
    ]
    return written[0] if len(written) == 1 else f"({' or '.join(written)})"


def _condition(part: int, number: int, name: str, item: Condition, arguments: Arguments) -> str:
    kind = COLUMNS[name].kind
    if item.op is Op.BLANK:
        return f"d.{name} is null" if kind in _TYPES else f"(d.{name} is null or d.{name} = '')"
    if item.op is Op.FILLED:
        return f"d.{name} is not null" if kind in _TYPES else f"d.{name} <> ''"
    if item.op is Op.PREFIX:
        return _prefix(part, number, name, item, arguments)
    if item.op is Op.CONTAINS and kind is Kind.MAIL_NUMBER:  # LIKE is what the trigram index answers
        return _like(name, part, number, arguments)
    value = arguments.bind(_asked(part, number), _TYPES.get(kind, "text"))
    if item.op is Op.CONTAINS:
        return f"strpos(d.{name}, {value}) > 0"
    return f"d.{name} {_COMPARISONS[item.op]} {value}"


def _prefix(part: int, number: int, name: str, item: Condition, arguments: Arguments) -> str:
    text = _text(part, number)
    first = arguments.bind(_asked(part, number), "text")
    if item.text[:1] == _LAST:
        return f"(d.{name} >= {first} and starts_with(d.{name}, {first}))"
    end = arguments.bind(lambda query: mail_number.range_end(text(query)) or _LAST, "text")
    return f"(d.{name} >= {first} and d.{name} < {end})"


@lru_cache  # a few orders are asked for again and again
def _order(sort: tuple[Sort, ...], *, backward: bool = False) -> str:
    return ", ".join(_direction(part, backward=backward) for part in sort)


def _direction(part: Sort, *, backward: bool) -> str:
    word = "desc" if part.descending != backward else "asc"
    # "nulls" is left out where there are none: an index is only used for an order that is written as its own.
    nulls = f" nulls {'first' if backward else 'last'}" if COLUMNS[part.column].nullable else ""
    return f"{part.column} {word}{nulls}"


def _behind(query: GridQuery, arguments: Arguments) -> str:
    """The condition that a row comes after the cursor's, in the order of the sort."""
    if query.after is None:
        return "true"
    bound = [
        None
        if value is None
        else arguments.bind(_last(place), _TYPES.get(COLUMNS[query.sort[place].column].kind, "text"))
        for place, value in enumerate(query.after)
    ]
    plain = not any(COLUMNS[part.column].nullable for part in query.sort)
    if plain and len({part.descending for part in query.sort}) == 1:  # one place to enter an index at
        sign = "<" if query.sort[0].descending else ">"
        names = ", ".join(part.column for part in query.sort)
        return f"({names}) {sign} ({', '.join(place or 'null' for place in bound)})"
    choices: list[str] = []
    equal: list[str] = []
    for part, place in zip(query.sort, bound, strict=True):
        choices.append(" and ".join([*equal, _later(part, place)]))
        equal.append(f"{part.column} is null" if place is None else f"{part.column} = {place}")
    return f"({' or '.join(f'({choice})' for choice in choices)})"


def _later(part: Sort, place: str | None) -> str:
    if place is None:  # blanks are last: nothing comes behind them
        return "false"
    beyond = f"{part.column} {'<' if part.descending else '>'} {place}"
    return f"({beyond} or {part.column} is null)" if COLUMNS[part.column].nullable else beyond


def page_statement(query: GridQuery, arguments: Arguments) -> str:
    """The statement of a page: one row with ``length``, ``rows``, ``total`` and ``last``."""
    table, done = _table(query, arguments)
    condition = where(query, arguments, but=done)
    kept = ", ".join(dict.fromkeys(part.column for part in query.sort))
    behind = _behind(query, arguments)
    # Numbers, not arguments: a plan that does not know them takes a page for a tenth of the table.
    limit = f"limit {query.limit:d} offset {query.offset:d}"
    order = _order(query.sort)
    page = f"where {behind} order by {order} {limit}"
    if query.selective:
        source = (
            f"hits as materialized (select {kept} from {table} d where {condition}),"
            f" page as materialized (select * from hits {page})"
        )
        total = "select count(*) from hits"
    else:
        source = (
            f"page as materialized (select {kept} from documents d"
            f" where {condition} and {behind} order by {order} {limit})"
        )
        counted = f"select from documents d where {condition} limit {COUNTED_ROWS + 1}"
        total = f"select count(*) from ({counted}) c"
    return (
        f"with {source}, shown as (select row_to_json(r)::text as line from"
        f" page p join lateral (select {_SHOWN} from documents d where d.id = p.id) r on true"
        f" order by {_qualified(query.sort)})"
        f" select (select count(*) from page) as length,"
        # Bytes: as a text they would be decoded here, to be encoded again.
        " convert_to(coalesce((select string_agg(line, ',') from shown), ''), 'UTF8') as rows,"
        f" ({total}) as total,"
        f" (select json_build_array({', '.join(part.column for part in query.sort)})::text"
        f" from page order by {_order(query.sort, backward=True)} limit 1) as last"
    )


def lookups_statement(statement: str, types: list[str]) -> str:
    """Several questions of one shape in one statement: its arguments are lists, its rows in their order."""
    lists = ", ".join(f"${place}::{name}[]" for place, name in enumerate(types, 1))
    names = ", ".join(f"a{place}" for place in range(1, len(types) + 1))
    return (
        f"select p.* from unnest({lists}) with ordinality q({names}, n)"
        f" cross join lateral ({statement}) p order by q.n"
    )


def _qualified(sort: tuple[Sort, ...]) -> str:
    return ", ".join(f"p.{_direction(part, backward=False)}" for part in sort)


def export_statement(query: GridQuery, arguments: Arguments) -> str:
    """The statement of all rows of a query, for COPY: the same condition and order, no page."""
    cells = ", ".join(_cell(name) for name in COLUMNS)
    condition = where(query, arguments)
    order = ", ".join(f"d.{_direction(part, backward=False)}" for part in query.sort)
    return f"select {cells} from documents d where {condition} order by {order}"


def _cell(name: str) -> str:
    kind = COLUMNS[name].kind
    if kind is Kind.DATETIME:
        return f"""to_char(d.{name}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as {name}"""
    if kind in _TYPES:
        return f"d.{name}"
    return f"case when d.{name} ~ '{_FORMULA}' then '''' || d.{name} else d.{name} end as {name}"
