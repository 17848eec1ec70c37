"""A query has one normal form, whatever client wrote it and in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from docservice.domain.grid.columns import COLUMNS, Kind
from docservice.domain.grid.component_body import from_body
from docservice.domain.grid.conditions import choices
from docservice.domain.grid.http_get import from_parameters
from docservice.domain.grid.query import DEFAULT_SORT, GridQuery, Sort, normal_filters, normal_sort
from docservice.postgres.grid_sql import export_statement, page_statement
from docservice.postgres.grid_where import Arguments, direct

TITLE = [{"filterType": "text", "type": "contains", "filter": part} for part in ("a", "b")]


def test_and_and_or_of_the_same_conditions_have_different_keys() -> None:
    def asked(operator: str) -> GridQuery:
        return from_body("mail", {"filterModel": {"title": {"operator": operator, "conditions": TITLE}}})

    assert asked("AND").digest != asked("OR").digest


def test_a_get_that_means_and_has_another_key_than_a_post_that_means_or() -> None:
    both = from_parameters("mail", [("pages.from", "2"), ("pages.to", "3"), ("total", "exact")])
    conditions = [{"type": "greaterThanOrEqual", "filter": 2}, {"type": "lessThanOrEqual", "filter": 3}]
    either = from_body("mail", {"filterModel": {"pages": {"operator": "OR", "conditions": conditions}}})
    same = from_body("mail", {"filterModel": {"pages": {"operator": "AND", "conditions": conditions}}})
    assert both.digest != either.digest
    assert both.digest == same.digest


# Few values, so that drawn queries are often equal.
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.MAIL_NUMBER: st.sampled_from(["A", "ABC", "a,b"]),
    Kind.TEXT: st.sampled_from(["a", "b", "a', 'b", "abc"]),
    Kind.SET: st.sampled_from(["a", "failed"]),
    Kind.INTEGER: st.sampled_from([1, 2, 1.5, -0.5]),
    Kind.DATETIME: st.sampled_from(["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-02T01:00:00+01:00"]),
}


@st.composite
def alternatives(draw: st.DrawFn) -> Any:
    column = COLUMNS[draw(st.sampled_from(["mail_number", "title", "state", "pages", "received_at"]))]
    op = draw(st.sampled_from(column.operations))
    return choices(column, op, draw(VALUES[column.kind]), name="drawn")


@st.composite
def filter_choices(draw: st.DrawFn) -> Any:
    """A disjunction or a conjunction of a few conditions."""
    parts = draw(st.lists(alternatives(), min_size=1, max_size=3))
    if draw(st.booleans()):
        return [choice for part in parts for choice in part]
    joined: list[Any] = [()]
    for part in parts:
        joined = [(*before, *choice) for before in joined for choice in part]
    return joined


queries = st.builds(
    GridQuery,
    module=st.sampled_from(["mail", "claims"]),
    filters=st.lists(filter_choices(), max_size=2).map(normal_filters),
    sort=st.sampled_from(
        [DEFAULT_SORT, normal_sort([Sort("pages")]), normal_sort([Sort("pages", descending=True)])]
    ),
    limit=st.sampled_from([1, 10]),
    offset=st.sampled_from([0, 10]),
    exact_total=st.booleans(),
)


def run_as(query: GridQuery) -> tuple[Any, ...]:
    """All that Postgres is sent for a query, and whether the total is counted beyond its cap."""
    page, export = Arguments(direct), Arguments(direct)
    statements = page_statement(query, page), export_statement(query, export)
    return (*statements, page.values(query), export.values(query), query.exact_total and not query.selective)


@pytest.mark.slow
@hypothesis_settings(max_examples=1500)
@given(one=queries, other=queries, same=st.booleans())
def test_two_queries_share_a_key_exactly_if_their_sql_and_arguments_are_equal(
    one: GridQuery, other: GridQuery, *, same: bool
) -> None:
    if same:  # the same filters in another order, most of the time equal
        other = GridQuery(
            module=one.module,
            filters=normal_filters([part.choices[::-1] for part in one.filters[::-1]]),
            sort=one.sort,
            limit=other.limit,
            offset=one.offset,
            exact_total=other.exact_total,
        )
    assert (one.digest == other.digest) == (run_as(one) == run_as(other))
