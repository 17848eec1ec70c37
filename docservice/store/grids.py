"""The SQL of grids: made from a :class:`GridQuery` and the table of columns, never from a caller's words.

One statement gives the page, the total and the last row's place, all from one WHERE. Rows arrive as the JSON
that the caller is sent: for a page of 50 that costs the server 0.15 ms more and us 0.35 ms less than taking
them apart and writing them again.

Two plans. With a mail number: the matches, found and counted once, and the page of them. Without: the page by
index order, and a count that stops at 10,001.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from docservice import mail_number
from docservice.batching import Batcher
from docservice.grid import COLUMNS, Condition, Filter, GridQuery, Kind, Op, Sort, Value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from docservice.store.database import Database

#: Totals are exact up to here where no mail number narrows the rows down.
COUNTED_ROWS = 10_000
_MOST_LOOKUPS = 16
_MOST_KEPT_BATCHERS = 64
_TYPES = {Kind.INTEGER: "bigint", Kind.DATETIME: "timestamptz"}
_COMPARISONS = {Op.EXACT: "=", Op.FROM: ">=", Op.ABOVE: ">", Op.TO: "<=", Op.BELOW: "<"}
_SHOWN = ", ".join(f"d.{name}" for name in COLUMNS)
# What a spreadsheet would run as a formula is shown as a text.
_FORMULA = r"^[=+\-@\t\r]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its rows as a JSON list in UTF-8, their number, the total, the last row's place as JSON."""

    rows: bytes
    count: int
    total: int
    total_capped: bool
    last: str | None


class Arguments:
    """The values that a statement is run with; each is bound once and named by its place."""

    def __init__(self, placeholder: Callable[[int], str]) -> None:
        self._placeholder = placeholder
        self.values: list[Value] = []
        self.types: list[str] = []

    def bind(self, value: Value, sql_type: str) -> str:
        """Its name within the statement."""
        self.values.append(value)
        self.types.append(sql_type)
        return self._placeholder(len(self.values))


def direct(place: int) -> str:
    """An argument of the statement itself."""
    return f"${place}"


def lookup(place: int) -> str:
    """An argument of one look-up among several in a statement."""
    return f"q.a{place}"


def where(query: GridQuery, arguments: Arguments, *, but: Filter | None = None) -> str:
    """The condition that rows, total and export share; ``but`` is a filter that is left to another place."""
    parts = [f"d.module = {arguments.bind(query.module, 'text')}"]
    parts += [_any_of(part, arguments) for part in query.filters if part is not but]
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
    found = " or ".join(_by_trigrams(item, arguments) for item in parts[0].conditions)
    return f"(select * from documents d where {found} offset 0)", parts[0]


def _by_trigrams(item: Condition, arguments: Arguments) -> str:
    text = str(item.value)
    if item.op is Op.EXACT:
        return f"d.mail_number = {arguments.bind(text, 'text')}"
    pattern = mail_number.like_pattern(text, anywhere=item.op is Op.CONTAINS)
    return f"d.mail_number like {arguments.bind(pattern, 'text')}"


def _any_of(part: Filter, arguments: Arguments) -> str:
    column = COLUMNS[part.column]
    exact = [item.value for item in part.conditions if item.op is Op.EXACT and item.value is not None]
    if len(exact) == len(part.conditions) > 1:  # one range of the index for each, in one scan
        sql_type = _TYPES.get(column.kind, "text")
        return f"d.{column.name} in ({', '.join(arguments.bind(value, sql_type) for value in exact)})"
    written = [_condition(column.name, column.kind, item, arguments) for item in part.conditions]
    return written[0] if len(written) == 1 else f"({' or '.join(written)})"


def _condition(name: str, kind: Kind, item: Condition, arguments: Arguments) -> str:
    if item.op is Op.BLANK:
        return f"d.{name} is null" if kind in _TYPES else f"(d.{name} is null or d.{name} = '')"
    if item.op is Op.FILLED:
        return f"d.{name} is not null" if kind in _TYPES else f"d.{name} <> ''"
    if item.value is None:
        raise ValueError(f"{item.op} of {name} has no value")
    if item.op is Op.PREFIX:
        return _prefix(name, str(item.value), arguments)
    if item.op is Op.CONTAINS:
        return _contains(name, kind, str(item.value), arguments)
    place = arguments.bind(item.value, _TYPES.get(kind, "text"))
    return f"d.{name} {_COMPARISONS[item.op]} {place}"


def _prefix(name: str, prefix: str, arguments: Arguments) -> str:
    first = f"d.{name} >= {arguments.bind(prefix, 'text')}"
    end = mail_number.range_end(prefix)
    return first if end is None else f"({first} and d.{name} < {arguments.bind(end, 'text')})"


def _contains(name: str, kind: Kind, part: str, arguments: Arguments) -> str:
    if kind is Kind.MAIL_NUMBER:  # LIKE is what the trigram index answers
        return f"d.{name} like {arguments.bind(mail_number.like_pattern(part), 'text')}"
    return f"strpos(d.{name}, {arguments.bind(part, 'text')}) > 0"


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
    pairs = list(zip(query.sort, query.after, strict=True))
    bound = [
        None if value is None else arguments.bind(value, _TYPES.get(COLUMNS[part.column].kind, "text"))
        for part, value in pairs
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
    """The statement of a page: one row with ``total``, ``count``, ``rows`` and ``last``."""
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
        f" select ({total}) as total, (select count(*) from page) as count,"
        # Bytes: as a text they would be decoded here, to be encoded again.
        " convert_to(coalesce((select string_agg(line, ',') from shown), ''), 'UTF8') as rows,"
        f" (select json_build_array({', '.join(part.column for part in query.sort)})::text"
        f" from page order by {_order(query.sort, backward=True)} limit 1) as last"
    )


@lru_cache
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


def _page(query: GridQuery, row: Any) -> Page:
    capped = not query.selective and row["total"] > COUNTED_ROWS
    return Page(
        rows=b"[%b]" % row["rows"],
        count=row["count"],
        total=COUNTED_ROWS if capped else row["total"],
        total_capped=capped,
        last=row["last"],
    )


class Grids:
    """Pages and exports of grids.

    Look-ups of one mail number are so cheap that their round trip costs most of them: those that arrive
    while one is under way go together in the next, as rows of one statement.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batchers: dict[object, Batcher[tuple[Value, ...], Any]] = {}

    async def page(self, query: GridQuery) -> Page:
        """The page of a query.

        Raises:
            StoreUnavailableError: when Postgres does not answer.
            StoreTimeoutError: when it takes too long.
        """
        if query.point:
            return _page(query, await self._look_up(query))
        arguments = Arguments(direct)
        statement = page_statement(query, arguments)
        return _page(query, await self._database.fetch_row(statement, *arguments.values))

    async def _look_up(self, query: GridQuery) -> Any:
        values = query.values
        # Queries of one shape have one statement, and their values stand in one order.
        columns = tuple((part.column, len(part.conditions)) for part in query.filters)
        shape = (columns, query.sort, query.limit, query.offset)
        batcher = None if values is None else self._batchers.get(shape)
        if batcher is not None and values is not None:
            return await batcher((query.module, *values))
        arguments = Arguments(lookup)
        statement = page_statement(query, arguments)
        batcher = Batcher(self._lookups(statement, arguments.types), most=_MOST_LOOKUPS, at_once=2)
        if values is not None:
            if len(self._batchers) >= _MOST_KEPT_BATCHERS:
                self._batchers.pop(next(iter(self._batchers)))
            self._batchers[shape] = batcher
        return await batcher(tuple(arguments.values))

    def _lookups(
        self, statement: str, types: list[str]
    ) -> Callable[[list[tuple[Value, ...]]], Awaitable[list[Any]]]:
        lists = ", ".join(f"${place}::{name}[]" for place, name in enumerate(types, 1))
        names = ", ".join(f"a{place}" for place in range(1, len(types) + 1))
        sql = (
            f"select p.* from unnest({lists}) with ordinality q({names}, n)"
            f" cross join lateral ({statement}) p order by q.n"
        )

        async def run(items: list[tuple[Value, ...]]) -> list[Any]:
            return await self._database.fetch(sql, *(list(column) for column in zip(*items, strict=True)))

        return run

    async def export(self, query: GridQuery, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write all rows of a query as CSV, as they come; raises as :meth:`page`."""
        arguments = Arguments(direct)
        statement = export_statement(query, arguments)
        async with self._database.transaction() as connection:
            await connection.execute("set local statement_timeout = 0")
            await connection.copy_from_query(
                statement, *arguments.values, output=write, format="csv", header=True, timeout=3600
            )
