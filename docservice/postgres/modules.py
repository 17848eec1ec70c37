"""The modules that have documents, to name those that a token was probably meant for."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from docservice.postgres.database import Database

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
