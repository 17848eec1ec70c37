"""What Postgres answers to a grid query is what plain Python makes of the same rows."""

from __future__ import annotations

import asyncio
import csv
import io
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from docservice.domain.grid.columns import COLUMNS, IGNORING_CASE, Kind, Op
from docservice.domain.grid.component_body import from_body
from docservice.domain.grid.conditions import choices
from docservice.domain.grid.cursor import cursor_text
from docservice.domain.grid.http_get import from_parameters
from docservice.domain.grid.query import DEFAULT_SORT, Condition, GridQuery, Sort, normal_filters
from docservice.domain.mail_number import MailNumberError, normalise
from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.grid_sql import COUNTED_ROWS, page_statement
from docservice.postgres.grid_where import Arguments, direct, uses_search
from docservice.postgres.grids import Grids, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START = datetime(2026, 1, 1, tzinfo=UTC)
ODD = "%_\\aA1-\u00df\u00e9\u0130 \ud7ff\ue000\U0010ffff\U0001f600"
FIELDS = ["module", *(name for name in COLUMNS if name not in ("id", "parent_id"))]
MATCHES: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda number, part: number == part,
    "prefix": lambda number, part: number.startswith(part),
    "contains": lambda number, part: part in number,
    "suffix": lambda number, part: number.endswith(part),
    "not": lambda number, part: number != part,
    "not_contains": lambda number, part: part not in number,
}
FILTERED = ["mail_number", "title", "sender", "state", "size_bytes", "pages", "received_at", "sent_at"]
SORTED = ["title", "sender", "pages", "received_at", "sent_at", "mail_number"]


@dataclass
class Loop:
    """A database open on a loop of its own, for synchronous tests."""

    runner: asyncio.Runner
    database: Database
    grids: Grids = field(init=False)

    def __post_init__(self) -> None:
        self.grids = Grids(self.database)

    def page(self, query: GridQuery) -> Page:
        return self.runner.run(self.grids.page(query))

    def rows(self, query: GridQuery) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = orjson.loads(self.page(query).rows)
        return rows

    def store(self, rows: Sequence[dict[str, Any]]) -> None:
        async def insert() -> None:
            async with self.database.transaction() as connection:
                await connection.execute("truncate documents restart identity cascade")
                await connection.copy_records_to_table(
                    "documents",
                    records=[(*(row[name] for name in FIELDS), "0" * 64, "k") for row in rows],
                    columns=[*FIELDS, "sha256", "blob_key"],
                )

        self.runner.run(insert())


@pytest.fixture
def loop(database_url: str) -> Iterator[Loop]:
    database = Database(
        PoolSettings(url=database_url, size=4, statement_timeout_seconds=20, connect_timeout_seconds=5)
    )
    with asyncio.Runner() as runner:
        runner.run(database.open())
        yield Loop(runner, database)
        runner.run(database.close())


def document(**values: Any) -> dict[str, Any]:
    return {
        "module": "mail",
        "document_type": "email",
        "mail_number": None,
        "title": "t",
        "sender": None,
        "file_name": "f.eml",
        "content_type": "message/rfc822",
        "size_bytes": 1,
        "state": "processed",
        "failure": None,
        "pages": None,
        "received_at": START,
        "processed_at": None,
        "sent_at": None,
        "to_addresses": None,
        "cc_addresses": None,
        "message_id": None,
        **values,
    }


def _legal(text: str) -> bool:
    try:
        return normalise(text) == text
    except MailNumberError:
        return False


numbers = st.text(st.sampled_from(ODD), min_size=1, max_size=6).filter(_legal)
documents = st.builds(
    document,
    module=st.sampled_from(["mail", "claims"]),
    mail_number=st.none() | numbers,
    title=st.text(st.sampled_from(ODD), max_size=4),
    sender=st.none() | st.sampled_from(["", "a", "B"]),
    state=st.sampled_from(["received", "failed"]),
    size_bytes=st.integers(0, 3),
    pages=st.none() | st.integers(0, 3),
    received_at=st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours)),
    sent_at=st.none() | st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours)),
)


@st.composite
def conditions(draw: st.DrawFn) -> tuple[tuple[Condition, ...], ...]:
    """The alternatives of one condition of any column and operation."""
    column = COLUMNS[draw(st.sampled_from(FILTERED))]
    values: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.MAIL_NUMBER: numbers,
        Kind.TEXT: st.text(st.sampled_from(ODD), min_size=1, max_size=4),
        Kind.SET: st.sampled_from(["received", "failed", "FAIL"]),
        Kind.INTEGER: st.integers(0, 3) | st.sampled_from([-0.5, 0.5, 1.5, 2.0]),
        Kind.DATETIME: st.integers(0, 30).map(lambda hours: (START + timedelta(hours=hours)).isoformat())
        | st.sampled_from(["2026-01-01", "2026-01-02"]),
    }
    op = draw(st.sampled_from(column.operations))
    return choices(column, op, draw(values[column.kind]), name=column.name)


#: The alternatives of a filter: any of several conditions, or one of conditions that must all hold.
filters = st.lists(conditions(), min_size=1, max_size=3).map(
    lambda found: [choice for part in found for choice in part]
) | st.lists(conditions(), min_size=2, max_size=2).map(
    lambda found: [(*one, *other) for one in found[0] for other in found[1]]
)


def fold(text: str) -> str:
    """Each letter on its own, as the database folds them."""
    return "".join(low if len(low := sign.lower()) == 1 else low[0] for sign in text).replace(
        "\u03c2", "\u03c3"
    )


def meets(value: Any, asked: Condition) -> bool:
    if asked.op is Op.BLANK:
        return value is None or value == ""
    if asked.op is Op.FILLED:
        return value is not None and value != ""
    ignoring = {op: plain for plain, op in IGNORING_CASE.items()}
    op, wanted = ignoring.get(asked.op, asked.op), asked.value
    if asked.op in ignoring:
        value, wanted = None if value is None else fold(value), fold(asked.text)
    if value is None:
        return op in (Op.NOT, Op.NOT_CONTAINS)
    plain: dict[Op, Callable[[Any, Any], Any]] = {
        Op.EXACT: lambda a, b: a == b,
        Op.NOT: lambda a, b: a != b,
        Op.PREFIX: lambda a, b: a.startswith(b),
        Op.SUFFIX: lambda a, b: a.endswith(b),
        Op.CONTAINS: lambda a, b: b in a,
        Op.NOT_CONTAINS: lambda a, b: b not in a,
        Op.FROM: lambda a, b: a >= b,
        Op.ABOVE: lambda a, b: a > b,
        Op.TO: lambda a, b: a <= b,
        Op.BELOW: lambda a, b: a < b,
    }
    return bool(plain[op](value, wanted))


def expected(rows: Sequence[dict[str, Any]], query: GridQuery) -> list[int]:
    """The ids of all rows of the query, in order."""
    found = [
        {**row, "id": number}
        for number, row in enumerate(rows, 1)
        if row["module"] == query.module
        and all(
            any(all(meets(row[asked.column], asked) for asked in choice) for choice in part.choices)
            for part in query.filters
        )
    ]
    for part in reversed(query.sort):  # stable: the last sort first
        blank = [row for row in found if row[part.column] is None]
        filled = [row for row in found if row[part.column] is not None]
        filled.sort(key=lambda row: row[part.column], reverse=part.descending)
        found = filled + blank
    return [row["id"] for row in found]


sorts = st.lists(
    st.builds(
        Sort,
        column=st.sampled_from(SORTED),
        descending=st.booleans(),
    ),
    max_size=2,
    unique_by=lambda sort: sort.column,
).map(lambda found: (*found, Sort(column="id", descending=bool(found) and found[-1].descending)))


@pytest.mark.slow
@hypothesis_settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(documents, max_size=12),
    asked=st.lists(filters, max_size=3),
    sort=sorts | st.just(DEFAULT_SORT),
    limit=st.integers(1, 5),
)
def test_rows_order_totals_and_cursors_are_those_of_plain_python(
    loop: Loop,
    rows: list[dict[str, Any]],
    asked: list[list[tuple[Condition, ...]]],
    sort: tuple[Sort, ...],
    limit: int,
) -> None:
    loop.store(rows)
    query = GridQuery(module="mail", filters=normal_filters(asked), sort=sort, limit=limit)
    everything = expected(rows, query)
    page = loop.page(query)
    found = [row["id"] for row in orjson.loads(page.rows)]
    assert (found, page.total, page.total_capped) == (everything[:limit], len(everything), False)
    walked = list(found)
    while page.last is not None:
        after = from_parameters(
            "mail", [("cursor", cursor_text(sort, page.last)), ("sort", _written(sort))]
        ).after
        page = loop.page(GridQuery(module="mail", filters=query.filters, sort=sort, limit=limit, after=after))
        assert page.total == len(everything)
        walked += [row["id"] for row in orjson.loads(page.rows)]
    assert walked == everything


def _written(sort: tuple[Sort, ...]) -> str:
    return ",".join(f"{'-' if part.descending else ''}{part.column}" for part in sort)


@pytest.mark.slow
@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.lists(numbers, max_size=15), asked=numbers, op=st.sampled_from(sorted(MATCHES)))
@example(
    stored=["\U0010ffffA1", "\U0010ffffB", "A"], asked="\U0010ffffA", op="prefix"
)  # the last of all signs
@example(stored=["\U0010ffff", "\U0010ffff\U0010ffff"], asked="\U0010ffff", op="prefix")
def test_mail_numbers_are_matched_as_python_matches_them(
    loop: Loop, stored: list[str], asked: str, op: str
) -> None:
    loop.store([document(mail_number=number) for number in stored])
    part = asked
    written = part.lower() if part.lower().upper() == part else part  # letter case never matters
    query = from_parameters("mail", [(f"mail_number.{op}", written)])
    wanted = sorted(number for number in stored if MATCHES[op](number, part))
    page = loop.page(query)
    found = sorted(row["mail_number"] for row in orjson.loads(page.rows))
    assert (found, page.total) == (wanted, len(wanted))


def test_blank_and_filled_are_each_others_opposite() -> None:
    def asked(name: str, value: str) -> GridQuery:
        return from_parameters("mail", [(name, value)])

    assert asked("title.blank", "false") == asked("title.filled", "true") != asked("title.blank", "true")
    assert asked("title.filled", "false") == asked("title.blank", "true")
    assert asked("title.blank", "true").digest != asked("title.filled", "true").digest


def test_look_ups_that_go_together_are_answered_apart(loop: Loop) -> None:
    loop.store([document(mail_number=f"MN-{place % 40}", title=str(place)) for place in range(200)])

    async def ask(place: int) -> tuple[int, set[str]]:
        query = from_parameters("mail", [("mail_number", f"MN-{place}")])
        page = await loop.grids.page(query)
        return page.total, {row["mail_number"] for row in orjson.loads(page.rows)}

    async def ask_all() -> list[tuple[int, set[str]]]:
        return await asyncio.gather(*(ask(place) for place in range(42)))

    assert loop.runner.run(ask_all()) == [(5, {f"MN-{place}"}) for place in range(40)] + [(0, set())] * 2


@pytest.mark.parametrize("asked", [("mail_number", "MN-1"), ("mail_number.prefix", "MN"), ("title", "t")])
def test_a_page_says_whether_the_readers_token_may_have_it_now(loop: Loop, asked: tuple[str, str]) -> None:
    loop.store([document(mail_number="MN-1")])
    query = from_parameters("mail", [asked])
    past, future = datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(hours=1)
    tokens: dict[str, tuple[list[str] | None, datetime | None, datetime | None]] = {
        "all modules": (None, None, None),
        "this module": (["claims", "mail"], future, None),
        "another module": (["claims"], None, None),
        "no module": ([], None, None),
        "expired": (None, past, None),
        "revoked": (None, None, past),
    }

    async def ask(modules: object, expires: object, revoked: object) -> tuple[bool, int, bytes]:
        row = await loop.database.fetch_row(
            "insert into tokens (name, sha256, role, modules, expires_at, revoked_at)"
            " values ('t', $1, 'viewer', $2, $3, $4) returning id",
            os.urandom(32),
            modules,
            expires,
            revoked,
        )
        page = await loop.grids.page(query, reader=row["id"])
        return page.allowed, page.total, page.rows[:6]

    answers = {name: loop.runner.run(ask(*token)) for name, token in tokens.items()}
    unknown = loop.runner.run(loop.grids.page(query, reader=2**60))
    shown, refused = (True, 1, b'[{"id"'), (False, 0, b"[]")
    assert answers == {
        "all modules": shown,
        "this module": shown,
        "another module": refused,
        "no module": refused,
        "expired": refused,
        "revoked": refused,
    }
    assert (unknown.allowed, unknown.rows) == (False, b"[]")


def test_a_total_beyond_the_cap_says_so(loop: Loop) -> None:
    async def fill() -> None:
        await loop.database.fetch(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key, mail_number) select 'mail', 'email', 't', 'f', 'c', 1, 's', 'k', 'MN-' || i"
            f" from generate_series(1, {COUNTED_ROWS + 5}) i"
        )

    loop.runner.run(fill())
    page = loop.page(GridQuery(module="mail", limit=1))
    assert (page.total, page.total_capped) == (COUNTED_ROWS, True)
    page = loop.page(from_parameters("mail", [("mail_number.prefix", "mn-")]))
    assert (page.total, page.total_capped, page.length) == (COUNTED_ROWS + 5, False, 50)


@pytest.mark.parametrize("asked", [[("pages", str(2**63 - 1))], [("pages.above", str(-(2**63)))]])
def test_a_number_beyond_the_range_of_its_column_is_filtered_on_like_any_other(
    loop: Loop, asked: list[tuple[str, str]]
) -> None:
    loop.store([document(pages=3)])
    sort = ("sort", "-pages")
    page = loop.page(from_parameters("mail", [*asked, sort]))
    assert page.total == (1 if asked[0][0] == "pages.above" else 0)
    after = GridQuery(module="mail", sort=from_parameters("mail", [sort]).sort, after=(2**63 - 1, 1))
    assert loop.page(after).length == 1


def test_a_page_behind_the_last_row_still_has_the_total(loop: Loop) -> None:
    loop.store([document()])
    page = loop.page(GridQuery(module="mail", offset=10))
    assert page == Page(rows=b"[]", length=0, total=1, total_capped=False, last=None)


def test_an_export_has_all_rows_of_the_query_and_no_formula(loop: Loop) -> None:
    titles = ["=1+1", "plain", 'with "quotes", commas\nand lines', "@x", "-3"]
    loop.store(
        [
            document(title=title, received_at=START - timedelta(hours=place))
            for place, title in enumerate(titles)
        ]
        + [document(module="claims", title="other")]
    )
    written = bytearray()

    async def write(data: bytes) -> None:
        written.extend(data)

    loop.runner.run(loop.grids.export(from_parameters("mail", []), write, seconds=30))
    rows = list(csv.DictReader(io.StringIO(written.decode())))
    assert [row["title"] for row in rows] == ["'=1+1", "plain", titles[2], "'@x", "'-3"]
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["received_at"] == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("parameters", "index"),
    [
        ([("mail_number", "MN-2026-1")], "documents_mail_number"),
        ([("mail_number.prefix", "MN-2026-1")], "documents_mail_number"),
        ([("mail_number.contains", "00123")], "documents_mail_number_parts"),
        ([], "documents_latest"),
        ([("sort", "received_at")], "documents_latest"),
    ],
)
def test_every_common_question_has_its_index(
    loop: Loop, parameters: list[tuple[str, str]], index: str
) -> None:
    async def plan() -> str:
        await loop.database.fetch(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key, mail_number, received_at)"
            " select 'm' || i % 5, 'email', 't', 'f', 'c', 1, 's', 'k',"
            " 'MN-' || 2000 + i % 30 || '-' || lpad((i * 7919 % 100000)::text, 6, '0'),"
            " now() - make_interval(secs => i) from generate_series(1, 20000) i"
        )
        await loop.database.fetch("vacuum analyze documents")
        arguments = Arguments(direct)
        query = from_parameters("m1", parameters)
        statement = page_statement(query, arguments)
        # Planned without the values, as the pool's connections do.
        written = ", ".join([*(f"'{value}'" for value in arguments.values(query)), "null"])
        async with loop.database.connection() as connection:
            await connection.execute(f"prepare asked ({', '.join(arguments.types)}) as {statement}")
            rows = await connection.fetch(f"explain execute asked ({written})")
        return "\n".join(row[0] for row in rows)

    text = loop.runner.run(plan())
    assert f"using {index} on" in text or f"on {index} " in text, text


def test_a_rare_text_is_found_by_the_search_index_and_a_common_one_by_order(loop: Loop) -> None:
    async def plan(text: str) -> str:
        query = from_parameters("m1", [("title.icontains", text)])
        arguments = Arguments(direct)
        statement = page_statement(query, arguments)
        async with loop.database.transaction() as connection:
            await connection.execute("set local plan_cache_mode = force_custom_plan")
            rows = await connection.fetch(f"explain {statement}", *arguments.values(query), None)
        return "\n".join(row[0] for row in rows)

    async def plans() -> tuple[str, str]:
        await loop.database.fetch(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key, received_at) select 'm' || i % 5, 'email', 'Document ' || md5(i::text), 'f',"
            " 'c', 1, 's', 'k', now() - make_interval(secs => i) from generate_series(1, 20000) i"
        )
        await loop.database.fetch("vacuum analyze documents")
        return await plan("Zeppelin"), await plan("DOCUMENT")

    rare, common = loop.runner.run(plans())
    assert "documents_search" in rare, rare
    assert "documents_latest" in common, common


@pytest.mark.parametrize("text", ["zeppelin", "2026"])
def test_a_quick_filter_looks_only_where_the_search_index_does(text: str) -> None:
    assert uses_search(from_body("m", {"filterModel": {"items": [], "quickFilterValues": [text]}}))


def test_an_exact_total_is_counted_where_it_is_asked_for(loop: Loop) -> None:
    async def fill() -> None:
        await loop.database.fetch(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key) select 'mail', 'email', 't', 'f', 'c', i % 2, 's', 'k'"
            f" from generate_series(1, {3 * COUNTED_ROWS}) i"
        )
        await loop.database.fetch("analyze documents")

    loop.runner.run(fill())
    capped = loop.page(from_parameters("mail", [("limit", "1")]))
    assert (capped.total, capped.total_capped) == (COUNTED_ROWS, True)
    assert capped.total_estimate is not None
    assert abs(capped.total_estimate - 3 * COUNTED_ROWS) < COUNTED_ROWS
    exact = loop.page(from_parameters("mail", [("limit", "1"), ("total", "exact")]))
    assert (exact.total, exact.total_capped, exact.total_estimate) == (3 * COUNTED_ROWS, False, None)
    half = loop.page(from_body("mail", {"filterModel": {"size_bytes": {"type": "equals", "filter": 1}}}))
    assert (half.total, half.total_capped, half.total_estimate) == (3 * COUNTED_ROWS // 2, False, None)


def test_a_total_that_takes_too_long_to_count_is_capped_with_an_estimate(loop: Loop) -> None:
    grids = Grids(loop.database, count_seconds=0.001)

    async def ask() -> Page:
        await loop.database.fetch(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key) select 'mail', 'email', repeat('t', 500), 'f', 'c', 1, 's', 'k'"
            f" from generate_series(1, {2 * COUNTED_ROWS}) i"
        )
        await loop.database.fetch("analyze documents")
        query = from_parameters("mail", [("title.not_contains", "x" * 50), ("total", "exact")])
        return await grids.page(query)

    page = loop.runner.run(ask())
    assert (page.total, page.total_capped) == (COUNTED_ROWS, True)
    assert page.total_estimate is not None
    assert page.total_estimate > COUNTED_ROWS


def test_the_driver_is_the_one_whose_faults_are_known() -> None:
    assert asyncpg.__version__.split(".") >= ["0", "30"]
