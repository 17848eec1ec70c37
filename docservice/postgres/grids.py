"""Pages and exports of grids, from Postgres."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from docservice.batching import Batcher
from docservice.postgres.grid_sql import (
    COUNTED_ROWS,
    Arguments,
    direct,
    export_statement,
    lookup,
    lookups_statement,
    page_statement,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from docservice.domain.grid import GridQuery, Value
    from docservice.postgres.database import Database

_MOST_LOOKUPS = 8
_MOST_KEPT_PLANS = 256
_MOST_KEPT_ARGUMENTS = 50


class Page(NamedTuple):
    """One page: its rows as a JSON list in UTF-8, their number, the total, the last row's place as JSON."""

    rows: bytes
    length: int
    total: int
    total_capped: bool
    last: str | None


class _Plan(NamedTuple):
    """How the questions of one shape are asked."""

    arguments: Arguments
    ask: Callable[[list[Value]], Awaitable[Any]]
    exact_total: bool


class Grids:
    """Pages and exports of grids.

    Look-ups of one mail number are so cheap that their round trip costs most of them: those that arrive
    while one is under way go together in the next, as rows of one statement.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._plans: OrderedDict[Hashable, _Plan] = OrderedDict()

    async def page(self, query: GridQuery) -> Page:
        """The page of a query.

        Raises:
            StoreUnavailableError: when Postgres does not answer.
            StoreTimeoutError: when it takes too long.
        """
        arguments, ask, exact_total = self._plan(query)
        length, rows, total, last = await ask(arguments.values(query))
        capped = not exact_total and total > COUNTED_ROWS
        return Page(b"[%b]" % rows, length, COUNTED_ROWS if capped else total, capped, last)

    def _plan(self, query: GridQuery) -> _Plan:
        """The plan for questions of this shape, kept while it is asked for now and then."""
        key = shape(query)
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        plan = self._written(query)
        if len(plan.arguments.types) <= _MOST_KEPT_ARGUMENTS:  # what callers can make long is not kept
            self._plans[key] = plan
            if len(self._plans) > _MOST_KEPT_PLANS:
                self._plans.popitem(last=False)
        return plan

    def _written(self, query: GridQuery) -> _Plan:
        if query.point:
            arguments = Arguments(lookup)
            sql = lookups_statement(page_statement(query, arguments), arguments.types)

            async def run(items: list[list[Value]]) -> list[Any]:
                columns = [list(column) for column in zip(*items, strict=True)]
                return await self._database.fetch(sql, *columns)

            return _Plan(arguments, Batcher(run, max_items=_MOST_LOOKUPS, max_in_flight=2), exact_total=True)
        arguments = Arguments(direct)
        statement = page_statement(query, arguments)

        async def ask(values: list[Value]) -> Any:
            return await self._database.fetch_row(statement, *values)

        return _Plan(arguments, ask, exact_total=query.selective)

    async def export(
        self, query: GridQuery, write: Callable[[bytes], Awaitable[None]], *, seconds: float
    ) -> None:
        """Write all rows of a query as CSV, as they come, within ``seconds``; raises as :meth:`page`."""
        arguments = Arguments(direct)
        statement = export_statement(query, arguments)
        async with self._database.transaction() as connection:
            await connection.execute(f"set local statement_timeout = {round(seconds * 1000)}")
            await connection.copy_from_query(
                statement,
                *arguments.values(query),
                output=write,
                format="csv",
                header=True,
                timeout=seconds + 5,
            )
