"""What AG Grid and MUI send, recorded in a browser, is answered as those grids mean it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

Live = Any  # of conftest
CASES = Path(__file__).parent / "cases"
SENT = json.loads((CASES / "sent_by_clients.json").read_text())
#: Title, sender, mail number, pages, state, time of receipt.
ROWS = (
    ("abc", "x@example.org", "MN-2026-0001", 1, "processed", "2026-01-01T00:00:00Z"),
    ("ABC and more", None, "MN-2026-0002", 2, "failed", "2026-01-01T10:30:00Z"),
    ("other", "y@example.org", "KX-7", 3, "received", "2026-01-02T00:00:00Z"),
    ("", None, None, None, "processed", "2025-12-31T23:59:59Z"),
)
#: The rows, by place, that each recorded body finds: in the order of the file.
FOUND = (
    {0, 1, 2, 3},  # AG Grid's request as it comes
    {2, 3},  # title notContains abc
    {1, 2, 3},  # title notEqual abc
    {0},  # title endsWith abc
    {0, 2},  # pages notEqual 2: AG Grid leaves blanks out
    {0, 1},  # pages lessThan 2.5
    {2, 3},  # received_at notEqual the first of January
    set(),  # a set filter with nothing ticked
    {1, 3},  # pages inRange 1 to 3, or blank
    {0, 1},  # a multi filter: title contains a
    {0, 1},  # two characters of a mail number
    {1},  # inRange leaves out both ends
    {0, 1},  # contains ABC in any letter case
    {0},  # the quick filter
    {0, 1, 2, 3},  # MUI's filter panel just opened
    {0, 1, 2, 3},  # its value cleared
    {2, 3},  # title doesNotContain abc
    {1, 2, 3},  # title doesNotEqual abc
    {0},  # title endsWith abc
    {0, 2, 3},  # pages != 2: MUI keeps blanks
    {0, 2, 3},  # state not failed
    {0, 1},  # received_at is the first of January
    {0, 1, 2},  # title contains a, or sender contains x
)


@pytest.fixture(scope="module")
def rows(live: Live) -> None:
    """The rows in a module of their own; nothing has read it before."""

    async def fill() -> None:
        connection = await asyncpg.connect(live.database_url)
        try:
            await connection.executemany(
                "insert into documents (module, document_type, title, sender, mail_number, pages, state,"
                " received_at, file_name, content_type, size_bytes, sha256, blob_key)"
                " values ('clients', 'email', $1, $2, $3, $4, $5, $6::text::timestamptz,"
                " 'f.eml', 't/p', 9, 's', 'k')",
                ROWS,
            )
            await connection.executemany(
                "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
                " pages, sha256, blob_key) values ('andor', 'email', $1, 'f', 't', 1, $2, 's', 'k')",
                [("a", 1), ("b", 2), ("ab", 4)],
            )
        finally:
            await connection.close()

    asyncio.run(fill())


@pytest.fixture
def client(live: Live, rows: None) -> Iterator[httpx.Client]:  # noqa: ARG001 - they are there first
    with live.client() as opened:
        yield opened


def found(client: httpx.Client, body: dict[str, Any]) -> set[int]:
    answer = client.post("/modules/clients/grid", json=body)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    places = {(title, sender): place for place, (title, sender, *_) in enumerate(ROWS)}
    assert data["total"] == len(data["rows"])
    return {places[row["title"], row["sender"]] for row in data["rows"]}


@pytest.mark.parametrize(("sent", "expected"), list(zip(SENT, FOUND, strict=True)))
def test_a_recorded_body_finds_what_its_client_means(
    client: httpx.Client, sent: dict[str, Any], expected: set[int]
) -> None:
    assert found(client, sent["body"]) == expected


def test_and_and_or_of_the_same_conditions_are_answered_apart(client: httpx.Client) -> None:
    case = json.loads((CASES / "and_or_one_cache_entry.json").read_text())
    answered = [
        client.post("/modules/andor/grid", json=step["body"]).json()["data"]["total"]
        for step in case["steps"]
    ]
    assert answered == [step["expected_total"] for step in case["steps"]]
    got, posted = case["same_between_forms"]
    both = client.get(f"/modules/andor/grid?{got['query']}&total=exact").json()["data"]["total"]
    either = client.post("/modules/andor/grid", json=posted["body"]).json()["data"]["total"]
    assert (both, either) == (1, 3)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"rowGroupCols": [{"id": "state", "field": "state"}]}, "rowGroupCols: rows cannot be grouped"),
        ({"valueCols": [{"id": "pages"}]}, "valueCols: rows cannot be grouped"),
        ({"pivotCols": [{"id": "pages"}]}, "pivotCols: rows cannot be grouped"),
        ({"groupKeys": ["failed"]}, "groupKeys: rows cannot be grouped"),
        ({"pivotMode": True}, "pivotMode: rows cannot be pivoted here"),
        ({"filterModel": {"filterType": "join", "type": "AND", "conditions": []}}, "advanced filter"),
        ({"filterModel": {"received_at": {"type": "lastWeek"}}}, "no operation 'lastWeek'; there are equals"),
        (
            {"filterModel": {"pages": {"type": "contains", "filter": "1"}}},
            "pages can be filtered by exact, not, from, above, to, below, blank, filled, not by contains",
        ),
        ({"filterModel": {"items": [], "quickFilterValue": ["a"]}}, "no field 'quickFilterValue' beside"),
        ({"filterModel": {"items": [], "logicOperator": "xor"}}, "and or or is needed, not 'xor'"),
        ({"filterModel": {"items": [], "quickFilterValues": [["a"]]}}, "texts or numbers are needed"),
        ({"total": "all"}, "exact or capped is needed"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    client: httpx.Client, body: dict[str, Any], detail: str
) -> None:
    answer = client.post("/modules/clients/grid", json=body)
    assert answer.status_code == 422
    assert detail in answer.json()["error"]["detail"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"title": {"type": "contains", "filter": None}}, {0, 1, 2, 3}),
        ({"title": {"type": "contains", "filter": ""}}, {0, 1, 2, 3}),
        ({"title": None}, {0, 1, 2, 3}),
        ({"pages": {"type": "inRange", "filter": 1}}, {0, 1, 2, 3}),
        ({"state": {"filterType": "set", "values": ["failed", "received"]}}, {1, 2}),
        ({"sender": {"filterType": "set", "values": [None]}}, {1, 3}),
        ({"received_at": {"type": "greaterThan", "dateFrom": "2026-01-01 00:00:00"}}, {1, 2}),
        (
            {"items": [{"field": "received_at", "operator": "after", "value": "2026-01-01T00:00:00.000Z"}]},
            {2},
        ),
        (
            {"items": [{"field": "received_at", "operator": "is", "value": "2026-01-01T10:30:00.000Z"}]},
            {1},
        ),
        ({"items": [{"field": "state", "operator": "isAnyOf", "value": ["failed", "received"]}]}, {1, 2}),
        ({"items": [{"field": "state", "operator": "isAnyOf", "value": []}]}, {0, 1, 2, 3}),
        ({"items": [], "quickFilterValues": ["mn-2026", "MORE"]}, {1}),
        ({"items": [], "quickFilterValues": ["kx", "MORE"], "quickFilterLogicOperator": "or"}, {1, 2}),
        ({"items": [], "quickFilterValues": [""]}, {0, 1, 2, 3}),
    ],
)
def test_a_filter_model_means_what_it_means_in_its_client(
    client: httpx.Client, model: dict[str, Any], expected: set[int]
) -> None:
    assert found(client, {"filterModel": model}) == expected


def test_a_part_of_two_characters_of_a_mail_number_is_answered(client: httpx.Client) -> None:
    answer = client.get("/modules/clients/grid", params={"mail_number.contains": "mn"})
    assert answer.json()["data"]["total"] == 2
