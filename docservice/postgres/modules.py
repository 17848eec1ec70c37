"""The SQL of modules: which there are. One is never removed, even when it has no document left."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from docservice.postgres.database import Database

_MAX_KNOWN = 10_000
#: One look into the index for each module, however many documents there are.
_MODULES = """
with recursive found as (
    (select module from documents order by module limit 1)
    union all
    select (select module from documents where module > found.module order by module limit 1)
    from found where found.module is not null
)
select module from found where module is not null
"""


async def unused_modules(database: Database, named: Collection[str]) -> list[str]:
    """One line for each of these modules that has no document, with the nearest that has some."""
    if not named:
        return []
    known = [row["module"] for row in await database.fetch(_MODULES)]
    lines = []
    for module in sorted(set(named) - set(known)):
        nearest = difflib.get_close_matches(module, known, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        listed = f"{hint}modules that have some: {', '.join(known[:10]) or 'none'}"
        lines.append(f"module {module} has no document yet; {listed}")
    return lines


class Modules:
    """The modules in Postgres. Every method raises StoreUnavailableError when it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[str] = set()

    async def exists(self, name: str) -> bool:
        """Whether a module was ever used; asked once for each that was."""
        if name in self._known:
            return True
        found = await self._database.fetch_row("select 1 from modules where name = $1", name) is not None
        if found and len(self._known) < _MAX_KNOWN:
            self._known.add(name)
        return found

    async def page(self, *, names: list[str] | None, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Modules by name, those behind ``after``; of ``names`` alone unless that is None.

        Each with the time at which its latest document was received, or None.
        """
        rows = await self._database.fetch(
            "select m.name, m.created_at, (select d.received_at from documents d where d.module = m.name"
            " order by d.received_at desc, d.id desc limit 1) as latest_received_at from modules m"
            " where ($1::text[] is null or m.name = any($1)) and ($2::text is null or m.name > $2)"
            " order by m.name limit $3",
            names,
            after,
            limit,
        )
        return [dict(row) for row in rows]
