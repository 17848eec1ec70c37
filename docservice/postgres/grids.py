"""Pages and exports of grids, from Postgres."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from docservice.batching import Batcher
from docservice.postgres.database import StoreTimeoutError
from docservice.postgres.grid_sql import (
    COUNTED_ROWS,
    count_statement,
    estimate_statement,
    export_statement,
    lookups_statement,
    page_statement,
    shape,
)
from docservice.postgres.grid_where import Arguments, direct, lookup, uses_search

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from docservice.domain.grid.query import GridQuery, Value
    from docservice.postgres.database import Database

#: In one statement: while Postgres answers some, this process reads and writes other requests.
_MAX_LOOKUPS = 8
_MAX_KEPT_PLANS = 256
_MAX_KEPT_ARGUMENTS = 50
#: How long an exact total may take.
COUNT_SECONDS = 1.0
# For one transaction: a plan that knows the values.
_CUSTOM_PLAN = "set local plan_cache_mode = force_custom_plan"


class Page(NamedTuple):
    """One page: its rows as a JSON list in UTF-8, their number, the total, the last row's place as JSON.

    ``allowed`` is whether the reader's token was valid and saw the module when the page was read.

    ``total_capped`` says that there are more than ``total`` rows; ``total_estimate`` is then about how many.
    """

    rows: bytes
    length: int
    total: int
    total_capped: bool
    last: str | None
    total_estimate: int | None = None
    allowed: bool = True


class _Plan(NamedTuple):
    """How the queries of one shape are run."""

    arguments: Arguments
    run: Callable[[list[Value | None]], Awaitable[Any]]


class Grids:
    """Pages and exports of grids.

    A look-up of one mail number is so cheap that its round trip costs most of it: those that arrive while one
    is under way go together in the next, as rows of one statement.
    """

    def __init__(self, database: Database, *, count_seconds: float = COUNT_SECONDS) -> None:
        self._database = database
        self._count_seconds = count_seconds
        self._plans: OrderedDict[Hashable, _Plan] = OrderedDict()

    async def page(self, query: GridQuery, *, reader: int | None = None) -> Page:
        """The page of a query, and whether the token with the id ``reader`` may have it.

        Without ``reader`` the caller has checked the rights, and the page is allowed.

        Raises:
            StoreUnavailableError: when Postgres does not answer.
            StoreTimeoutError: when it takes too long.
        """
        arguments, run = self._plan(query)
        length, rows, total, last, allowed = await run([*arguments.values(query), reader])
        if not allowed:
            return Page(b"[]", 0, 0, total_capped=False, last=None, allowed=False)
        if total <= COUNTED_ROWS or query.selective:
            return Page(b"[%b]" % rows, length, total, total_capped=False, last=last)
        exact = await self._count(query) if query.exact_total else None
        if exact is not None:
            return Page(b"[%b]" % rows, length, exact, total_capped=False, last=last)
        estimate = await self._estimate(query)
        return Page(
            b"[%b]" % rows, length, COUNTED_ROWS, total_capped=True, last=last, total_estimate=estimate
        )

    def _plan(self, query: GridQuery) -> _Plan:
        """The plan for queries of this shape, kept while it is used now and then."""
        key = shape(query)
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        plan = self._written(query)
        if len(plan.arguments.types) <= _MAX_KEPT_ARGUMENTS:  # callers can make longer ones without end
            self._plans[key] = plan
            if len(self._plans) > _MAX_KEPT_PLANS:
                self._plans.popitem(last=False)
        return plan

    def _written(self, query: GridQuery) -> _Plan:
        if query.point:
            arguments = Arguments(lookup)
            sql = lookups_statement(page_statement(query, arguments), arguments.types)

            async def run_together(items: list[list[Value | None]]) -> list[Any]:
                columns = [list(column) for column in zip(*items, strict=True)]
                return await self._database.fetch(sql, *columns)

            return _Plan(arguments, Batcher(run_together, max_items=_MAX_LOOKUPS, max_in_flight=2))
        arguments = Arguments(direct)
        statement = page_statement(query, arguments)
        with_values = uses_search(query)

        async def run(values: list[Value | None]) -> Any:
            if not with_values:
                return await self._database.fetch_row(statement, *values)
            async with self._database.transaction() as connection:
                await connection.execute(_CUSTOM_PLAN)
                return await connection.fetchrow(statement, *values)

        return _Plan(arguments, run)

    async def _count(self, query: GridQuery) -> int | None:
        """The exact total, or None when counting takes too long."""
        arguments = Arguments(direct)
        statement = count_statement(query, arguments)
        try:
            async with self._database.transaction() as connection:
                await connection.execute(
                    f"{_CUSTOM_PLAN}; set local statement_timeout = {round(self._count_seconds * 1000)}"
                )
                return int(await connection.fetchval(statement, *arguments.values(query)))
        except StoreTimeoutError:
            return None

    async def _estimate(self, query: GridQuery) -> int:
        """About how many rows there are, from the planner's statistics; more than were counted."""
        arguments = Arguments(direct)
        statement = estimate_statement(query, arguments)
        async with self._database.transaction() as connection:
            await connection.execute(_CUSTOM_PLAN)
            [plan] = orjson.loads(await connection.fetchval(statement, *arguments.values(query)))
        return max(COUNTED_ROWS + 1, int(plan["Plan"]["Plan Rows"]))

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
