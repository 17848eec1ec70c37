"""A query of a grid: filters, sort, page and cursor, as a value in normal form.

What belongs here: values and their normal form. What may never enter: how a query is written by a client
(:mod:`http_get` and :mod:`component_body`) or in SQL (``postgres/grid_sql``).

How it works: the filters are a conjunction of disjunctions of conjunctions of conditions, which holds what
every client can express. In normal form each level is sorted and without duplicates, so that equal queries
are equal values, however they were written, and :attr:`GridQuery.digest` is equal for exactly those.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from docservice.domain.grid.columns import FILTERED, GridError, Kind, Op
from docservice.domain.mail_number import MIN_INDEXED_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Value: TypeAlias = str | int | float | datetime

DEFAULT_LIMIT = 50
MAX_ROWS = 500
MAX_OFFSET = 1_000_000
MAX_FILTERS = 20
MAX_CONDITIONS = 50
MAX_SORTS = 5

#: Where an index finds mail numbers: by operation, the characters that it needs.
_INDEXED_FROM = {Op.EXACT: 0, Op.PREFIX: 0, Op.CONTAINS: MIN_INDEXED_CHARACTERS}
# By kind, made once: each query asks, and a member of an enumeration is slow to reach in Python 3.11.
_MAIL_NUMBERS = frozenset(column.name for column in FILTERED.values() if column.kind is Kind.MAIL_NUMBER)
_DOCUMENT_TEXTS = frozenset(column.name for column in FILTERED.values() if column.kind is Kind.DOCUMENT_TEXT)


class Condition(NamedTuple):
    """One comparison of a column's value. ``text`` is the value as text: it gives all kinds one order."""

    column: str
    op: Op
    text: str = ""
    value: Value | None = None

    @property
    def selective(self) -> bool:
        """Whether an index on mail numbers finds it, so that few rows are left and all can be counted."""
        characters = _INDEXED_FROM.get(self.op)
        return characters is not None and self.column in _MAIL_NUMBERS and len(self.text) >= characters


#: Conditions that must all hold.
Choice: TypeAlias = tuple[Condition, ...]


class Filter(NamedTuple):
    """A row passes when at least one of the choices holds; with no choice, no row passes."""

    choices: tuple[Choice, ...]

    @property
    def selective(self) -> bool:
        """Whether each choice is selective."""
        return bool(self.choices) and all(any(item.selective for item in choice) for choice in self.choices)

    @property
    def point(self) -> bool:
        """Whether it asks for mail numbers exactly."""
        for choice in self.choices:
            if len(choice) > 1 or choice[0].op is not Op.EXACT or not choice[0].selective:
                return False
        return bool(self.choices)


class Sort(NamedTuple):
    """A column to sort by; blanks come last either way."""

    column: str
    descending: bool = False


DEFAULT_SORT = (Sort(column="received_at", descending=True), Sort(column="id", descending=True))


@dataclass(kw_only=True, unsafe_hash=True)  # not frozen: that would make each one take 1.3 us longer
class GridQuery:
    """A query in normal form. ``module`` is in its one form; ``limit`` and ``offset`` are rows.

    ``sort`` always ends in ``id``, so that no two rows are equal in it. ``after`` has the last row's value of
    each column of ``sort``: the page begins behind it. Among ``ranked`` rows, that row's rank and the values
    of the first match and of the last ranked one come before. ``exact_total`` asks for the exact total even
    where counting takes long. ``ranked`` puts the best matches of a search in texts first; ``sort`` decides
    between equal ones.

    Raises:
        GridError: when the page or the number of filters is out of bounds.
    """

    module: str
    filters: tuple[Filter, ...] = ()
    sort: tuple[Sort, ...] = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    after: tuple[Value | None, ...] | None = None
    exact_total: bool = False
    ranked: bool = False
    #: Whether one mail number is asked for exactly: a look-up that costs less than a cache's.
    point: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_ROWS:
            raise GridError("limit", f"a page has 1 to {MAX_ROWS} rows, not {self.limit}")
        if not 0 <= self.offset <= MAX_OFFSET:
            raise GridError(
                "offset", f"0 to {MAX_OFFSET}, not {self.offset}; go further with the cursor of each page"
            )
        if self.after is not None and self.offset:
            raise GridError("cursor", "a page begins at a cursor or at an offset, not at both")
        if len(self.filters) > MAX_CONDITIONS:
            raise GridError("filters", f"at most {MAX_CONDITIONS} filters, not {len(self.filters)}")
        self.point = any([part.point for part in self.filters])  # noqa: C419 - a generator costs more

    @property
    def selective(self) -> bool:
        """Whether a mail number narrows it down, so that its total is always exact."""
        for part in self.filters:  # noqa: SIM110 - for each query, and a generator costs more
            if part.selective:
                return True
        return False

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits: the same for two queries exactly if their SQL and arguments are equal."""
        counted = self.exact_total and not self.selective
        parts = (
            self.module,
            tuple(
                tuple(
                    tuple((item.column, item.op.value, item.text) for item in choice)
                    for choice in part.choices
                )
                for part in self.filters
            ),
            tuple((sort.column, sort.descending) for sort in self.sort),
            (self.limit, self.offset, self.after, counted, self.ranked),
        )
        # The text of nested tuples is unambiguous: each level has its own brackets and each text its quotes.
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def searches_text(filters: Iterable[Filter]) -> bool:
    """Whether the texts of documents are searched."""
    return any(
        item.column in _DOCUMENT_TEXTS for part in filters for choice in part.choices for item in choice
    )


def normal_filters(filters: Iterable[Sequence[Choice]]) -> tuple[Filter, ...]:
    """The filters in normal form, from the choices of each.

    A filter with a single choice is split into its conditions: all of them must hold, as filters must.

    Raises:
        GridError: when there are too many conditions.
    """
    found: list[Filter] = []
    conditions = 0
    for choices in filters:
        if len(choices) == 1 and len(choices[0]) == 1:  # most of them
            found.append(Filter((choices[0],)))
            conditions += 1
            continue
        distinct = sorted({tuple(sorted(set(choice))) for choice in choices})
        if len(distinct) == 1:
            found += [Filter(((item,),)) for item in distinct[0]]
        else:
            found.append(Filter(tuple(distinct)))
        conditions += sum(map(len, distinct))
    if conditions > MAX_FILTERS * MAX_CONDITIONS:
        raise GridError("filters", f"at most {MAX_FILTERS * MAX_CONDITIONS} conditions, not {conditions}")
    return tuple(found if len(found) < 2 else sorted(set(found)))  # noqa: PLR2004 - one is sorted


def normal_sort(sorts: Sequence[Sort]) -> tuple[Sort, ...]:
    """The sort in normal form: each column once, ending in the unique ``id``.

    Raises:
        GridError: when there are too many columns.
    """
    if not sorts:
        return DEFAULT_SORT
    if len(sorts) > MAX_SORTS:
        raise GridError("sort", f"at most {MAX_SORTS} columns to sort by, not {len(sorts)}")
    distinct = {sort.column: sort for sort in reversed(sorts)}
    kept = [sort for sort in sorts if distinct.get(sort.column) is sort]
    names = [sort.column for sort in kept]
    if "id" in names:  # whatever follows a unique column changes nothing
        return tuple(kept[: names.index("id") + 1])
    return (*kept, Sort(column="id", descending=kept[-1].descending))
