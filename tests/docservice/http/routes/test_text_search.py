"""Texts of documents are searched within the grid: by words, by parts of words, best matches first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

Live = Any  # of conftest
#: Title, mail number and text of each document, in the order in which they were received.
DOCUMENTS = (
    ("one", "MN-2026-0001", "The invoice of March. An invoice, and again: invoice!"),
    ("two", "MN-2026-0002", "A letter that speaks of an invoice once, among many other words and things."),
    ("three", None, "Rechnung f\u00fcr \u00c4pfel, gr\u00f6\u00dfer als 100%_sicher"),
    ("four", "KX-7", "Contains prefix-invoices-suffix in the middle of something"),
    ("five", None, None),
)


@pytest.fixture(scope="module")
def texts(live: Live) -> None:
    async def fill() -> None:
        connection = await asyncpg.connect(live.database_url)
        for place, (title, number, text) in enumerate(DOCUMENTS):
            for module in ("texts", "other"):
                document = await connection.fetchval(
                    "insert into documents (module, document_type, title, mail_number, file_name,"
                    " content_type, size_bytes, sha256, blob_key, received_at)"
                    " values ($1, 'email', $2, $3, 'f', 't', 1, 's', 'k',"
                    " '2026-01-01'::timestamptz + make_interval(days => $4)) returning id",
                    module,
                    title,
                    number,
                    place,
                )
                if text is not None:
                    await connection.execute("insert into document_texts values ($1, $2)", document, text)
        await connection.close()

    asyncio.run(fill())


@pytest.fixture
def client(live: Live, texts: None) -> Iterator[httpx.Client]:  # noqa: ARG001 - they are there first
    with live.client("viewer") as opened:
        yield opened


def titles(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert data["total"] == len(data["rows"])
    return [row["title"] for row in data["rows"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("invoice", ["one", "two", "four"]),  # the word, most often first, then parts of words
        ("INVOICE", ["one", "two", "four"]),
        ("march invoice", ["one"]),  # all of the words, in any order
        ("invoice among", ["two"]),
        ("nvoic", ["four", "two", "one"]),  # a part of words: the latest first
        ("  invoice  ", ["one", "two", "four"]),
        ("once, among many", ["two"]),
        ("of", ["four", "two", "one"]),  # two characters: a word
        ("nv", []),
        ("\u00e4PFEL", ["three"]),
        ("gr\u00f6\u00dfer", ["three"]),
        ("100%_s", ["three"]),
        ("100__s", []),
        ("%", []),
        ("'); drop table documents; --", []),
        ("!!!", []),
        ("invoice & !march | x:*", []),  # no language of queries: words
    ],
)
def test_a_text_is_found_by_its_words_and_parts_best_first(
    client: httpx.Client, text: str, found: list[str]
) -> None:
    got = client.get("/modules/texts/grid", params={"text.contains": text})
    ag = {"filterModel": {"text": {"filterType": "text", "type": "contains", "filter": text}}}
    mui = {"filterModel": {"items": [{"field": "text", "operator": "contains", "value": text}]}}
    posted = [client.post("/modules/texts/grid", json=body) for body in (ag, mui)]
    answers = [titles(answer) for answer in (got, *posted)]
    assert answers == [found] * 3


def test_a_search_goes_together_with_filters_sorts_pages_and_exports(client: httpx.Client) -> None:
    def ask(**parameters: Any) -> httpx.Response:
        return client.get("/modules/texts/grid", params={"text.contains": "invoice", **parameters})

    assert titles(ask(**{"mail_number.prefix": "MN"})) == ["one", "two"]
    assert titles(ask(mail_number="MN-2026-0002")) == ["two"]
    assert titles(ask(**{"title.not": "one"})) == ["two", "four"]
    assert titles(ask(sort="-received_at")) == ["four", "two", "one"]
    pages = [ask(limit=1, offset=offset).json()["data"] for offset in range(4)]
    assert [[row["title"] for row in page["rows"]] for page in pages] == [["one"], ["two"], ["four"], []]
    assert [(page["total"], page["next_cursor"] is None) for page in pages] == [(3, False)] * 3 + [(3, True)]
    sorted_page = ask(limit=2, sort="title").json()["data"]
    following = ask(limit=2, sort="title", cursor=sorted_page["next_cursor"]).json()["data"]
    assert [row["title"] for row in (*sorted_page["rows"], *following["rows"])] == ["four", "one", "two"]
    for cursor, other in (
        (sorted_page["next_cursor"], {}),
        (pages[0]["next_cursor"], {"sort": "-received_at"}),
    ):
        refused = ask(cursor=cursor, **other)
        assert (refused.status_code, refused.json()["error"]["detail"]) == (
            422,
            "cursor: not the next_cursor of a page with the same sort; ask for the first page again",
        )
    exported = client.get("/modules/texts/grid.csv", params={"text.contains": "invoice"}).text
    assert sorted(line.split(",")[3] for line in exported.splitlines()[1:]) == ["four", "one", "two"]


def test_a_search_can_be_one_of_two_alternatives(client: httpx.Client) -> None:
    body = {
        "filterModel": {
            "items": [
                {"id": 1, "field": "text", "operator": "contains", "value": "Rechnung"},
                {"id": 2, "field": "title", "operator": "equals", "value": "five"},
            ],
            "logicOperator": "or",
        }
    }
    assert titles(client.post("/modules/texts/grid", json=body)) == ["three", "five"]


@pytest.mark.parametrize(
    "parameter", ["text=x", "text.exact=x", "text.not_contains=x", "text.blank=true", "sort=text"]
)
def test_what_a_text_cannot_do_is_refused_in_words(client: httpx.Client, parameter: str) -> None:
    refused = client.get(f"/modules/texts/grid?{parameter}")
    assert refused.status_code == 422
    detail = refused.json()["error"]["detail"]
    assert "text can be filtered by contains" in detail or "there is no column 'text'" in detail


def test_what_can_be_searched_is_listed_beside_the_columns(client: httpx.Client) -> None:
    answer = client.get("/modules/texts/columns").json()
    assert answer["meta"]["filters"] == [{"name": "text", "label": "Text", "operations": ["contains"]}]
    assert "text" not in [column["name"] for column in answer["data"]]


def test_a_text_of_a_million_different_words_is_stored_and_found_by_its_first_ones(
    live: Live, client: httpx.Client
) -> None:
    async def fill() -> int:
        connection = await asyncpg.connect(live.database_url)
        document: int = await connection.fetchval(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key) values ('texts', 'text', 'long', 'f', 't', 1, 's', 'k') returning id"
        )
        words = " ".join(f"w{place:x}" for place in range(200_000))
        await connection.execute("insert into document_texts values ($1, $2)", document, words)
        await connection.close()
        return document

    document = asyncio.run(fill())
    for text in ("w1f w2e", "w30d3e w30d3f"):  # the last one is a part of the text alone
        rows = client.get("/modules/texts/grid", params={"text.contains": text, "offset": 0}).json()["data"][
            "rows"
        ]
        assert [row["id"] for row in rows] == [document]


def test_a_search_of_one_module_shows_nothing_of_another(client: httpx.Client) -> None:
    rows = client.get("/modules/other/grid", params={"text.contains": "invoice"}).json()["data"]["rows"]
    assert len(rows) == 3
    ids = {row["id"] for row in client.get("/modules/other/grid").json()["data"]["rows"]}
    assert {row["id"] for row in rows} < ids


#: More than are ranked. Each has the word as often as this says, the latest first.
TIMES = [(place * 7) % 6 for place in range(1_300)]
#: The last one that is ranked, and the first one that is not, match best.
TIMES[999] = TIMES[1_000] = 9
MADE = (
    "with made as (insert into documents (module, document_type, title, mail_number, file_name, content_type,"
    " size_bytes, sha256, blob_key, received_at) select 'many', 'email', t.place::text, 'MN-' || t.place,"
    " 'f', 't', 1, 's', 'k', '2026-01-01'::timestamptz - make_interval(mins => t.place::int)"
    " from unnest($1::int[], $2::int[]) t(place, times) returning id, title)"
    " insert into document_texts select id, repeat('needle ', t.times) || 'needles'"
    " from made join unnest($1::int[], $2::int[]) t(place, times) on t.place::text = made.title"
)


def changed(live: Live, sql: str, *arguments: Any) -> None:
    async def change() -> None:
        connection = await asyncpg.connect(live.database_url)
        await connection.execute(sql, *arguments)
        await connection.close()

    asyncio.run(change())


@pytest.fixture
def many(live: Live) -> Iterator[None]:
    changed(live, MADE, list(range(len(TIMES))), TIMES)
    yield
    changed(live, "delete from documents where module = 'many'")


def walked(client: httpx.Client, body: dict[str, Any]) -> Iterator[list[int]]:
    """The titles of each page, by the cursor of the page before."""
    cursor = None
    while True:
        answer = client.post("/modules/many/grid", json={**body, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        cursor = data["next_cursor"]
        yield [int(row["title"]) for row in data["rows"]]
        if cursor is None:
            return


BEST_FIRST = [*sorted(range(1_000), key=lambda place: -TIMES[place]), *range(1_000, len(TIMES))]


def searching(text: str, rows: int, **others: Any) -> dict[str, Any]:
    wanted = {"filterType": "text", "type": "contains", "filter": text}
    return {"filterModel": {"text": wanted, **others}, "endRow": rows}


@pytest.mark.parametrize("rows", [7, 250, 499])
@pytest.mark.usefixtures("many")
def test_a_walk_by_cursor_has_each_match_once_best_first(client: httpx.Client, rows: int) -> None:
    pages = list(walked(client, searching("needle", rows)))
    assert [place for page in pages for place in page] == BEST_FIRST
    assert {len(page) for page in pages[:-1]} == {rows}
    of_eleven = {"filterType": "text", "type": "startsWith", "filter": "MN-11"}
    numbered = list(walked(client, searching("needle", rows, mail_number=of_eleven)))
    assert [place for page in numbered for place in page] == sorted(
        (place for place in range(len(TIMES)) if str(place).startswith("11")),
        key=lambda place: (-TIMES[place], place),
    )


@pytest.mark.usefixtures("many")
def test_a_walk_neither_repeats_nor_misses_a_row_when_others_come_and_go(
    live: Live, client: httpx.Client
) -> None:
    seen: list[int] = []
    for number, page in enumerate(walked(client, searching("needle", 100))):
        seen += page
        if number == 0:  # three come above all others: the first page's would be ranked down to 996
            changed(live, MADE, [-1, -2, -3], [1, 2, 9])
        if number == 1:  # and six go: it would be down to 1002
            gone = [BEST_FIRST[place] for place in (0, 1, 2, 998, 1_010, 1_020)]
            changed(
                live, "delete from documents where module = 'many' and title = any($1)", list(map(str, gone))
            )
    assert len(seen) == len(set(seen))
    assert seen == [place for place in BEST_FIRST if place in BEST_FIRST[:3] or place not in gone]
    assert min(seen) == 0  # what is newer than the first page is on none, as in any walk from the newest on
