"""The API as its callers see it, over HTTP, on a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from docservice.domain.documents import DocumentType, State
from tests.docservice.http.calls import envelope, upload

if TYPE_CHECKING:
    import httpx

STATES = ", ".join(State)
TYPES = ", ".join(DocumentType)


@pytest.mark.slow
def test_a_module_is_one_in_any_letter_case(client: httpx.Client) -> None:
    assert upload(client, "Letter-Case", ("a.txt", b"text")).status_code == 202
    pages = [client.get(f"/modules/{name}/grid") for name in ("letter-case", "LETTER-CASE", "Letter-Case")]
    assert [envelope(page)["data"]["total"] for page in pages] == [1, 1, 1]
    assert [page.headers["x-cache"] for page in pages] == ["miss", "hit", "hit"]


def test_a_read_after_an_upload_sees_it(client: httpx.Client) -> None:
    for count in range(1, 6):
        upload(client, "fresh", (f"{count}.txt", b"text"))
        assert client.get("/modules/fresh/grid").json()["data"]["total"] == count


def test_get_and_post_ask_the_same(client: httpx.Client) -> None:
    upload(client, "forms", ("a.txt", b"text"), ("b.txt", b"text"), mail_number="mn-1")
    got = client.get(
        "/modules/forms/grid", params={"mail_number.prefix": "MN", "limit": 10, "sort": "file_name"}
    )
    asked = {
        "startRow": 0,
        "endRow": 10,
        "filterModel": {"mail_number": {"filterType": "text", "type": "startsWith", "filter": "MN"}},
        "sortModel": [{"colId": "file_name", "sort": "asc"}],
    }
    ag = client.post("/modules/FORMS/grid", json=asked)
    mui = client.post(
        "/modules/forms/grid",
        json={
            "paginationModel": {"page": 0, "pageSize": 10},
            "filterModel": {"items": [{"field": "mail_number", "operator": "startsWith", "value": "MN"}]},
            "sortModel": [{"field": "file_name", "sort": "asc"}],
        },
    )
    assert [row["file_name"] for row in got.json()["data"]["rows"]] == ["a.txt", "b.txt"]
    assert got.json()["data"] == ag.json()["data"] == mui.json()["data"]
    assert [answer.headers["x-cache"] for answer in (got, ag, mui)] == ["miss", "hit", "hit"]


def test_cursors_walk_through_all_rows(client: httpx.Client) -> None:
    upload(client, "walk", *((f"{place}.txt", b"text") for place in range(7)))
    seen: list[int] = []
    cursor: str | None = None
    while True:
        data = client.get(
            "/modules/walk/grid", params={"limit": 3} | ({"cursor": cursor} if cursor else {})
        ).json()["data"]
        seen += [row["id"] for row in data["rows"]]
        cursor = data["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 7
    assert seen == sorted(seen, reverse=True)


def test_an_export_is_the_same_query(client: httpx.Client) -> None:
    upload(client, "export", ("=a.txt", b"text"), ("b.txt", b"text"))
    answer = client.get("/modules/export/grid.csv", params={"file_name.prefix": "="})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [line.split(",")[5] for line in answer.text.splitlines()] == ["file_name", "'=a.txt"]


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"nope": "1"}, "nope: there is no column 'nope'"),
        ({"title; drop table documents": "x"}, "there is no column"),
        ({"sort": "title desc"}, "there is no column 'title desc'"),
        ({"sort": "-id;--"}, "there is no column"),
        ({"size_bytes.contains": "1"}, "can be filtered by exact, not, from, above"),
        ({"size_bytes": "1e9"}, "a whole number of at most 64 bits"),
        ({"size_bytes": "9" * 19}, "a whole number of at most 64 bits"),
        ({"received_at.from": "yesterday"}, "a date or a time such as"),
        ({"limit": "0"}, "a page has 1 to 500 rows, not 0"),
        ({"limit": "501"}, "a page has 1 to 500 rows, not 501"),
        ({"offset": "1000001"}, "go further with the cursor"),
        ({"cursor": "AAAA"}, "not the next_cursor of a page with the same sort"),
        ({"title": ""}, "1 to 1000 characters are needed, not 0"),
        ({"title": "x" * 1001}, "1 to 1000 characters are needed, not 1001"),
        ({"mail_number": "a\x00b"}, "NUL and unpaired surrogates are not text"),
        ({"state.blank": "maybe"}, "true or false is needed"),
        ({"state.filled": "1"}, "true or false is needed"),
        ({"state": "bogus"}, f"state: one of {STATES} is needed, not 'bogus'"),
        ({"state": "Failed"}, f"state: one of {STATES} is needed, not 'Failed'"),
        ({"state.not": "bogus"}, f"state.not: one of {STATES} is needed, not 'bogus'"),
        ({"state.iexact": "fail"}, f"state.iexact: one of {STATES} is needed, not 'fail'"),
        ({"document_type": "mail"}, f"document_type: one of {TYPES} is needed, not 'mail'"),
        ({"document_type.inot": "mail"}, f"document_type.inot: one of {TYPES} is needed, not 'mail'"),
    ],
)
def test_what_no_grid_has_is_422_with_what_is_legal(
    client: httpx.Client, parameters: dict[str, str], detail: str
) -> None:
    answer = client.get("/modules/mail/grid", params=parameters)
    assert answer.status_code == 422
    assert detail in envelope(answer)["error"]["detail"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"state": "failed", "document_type": "email"},
        {"state.iexact": "FAILED", "state.inot": "Received"},
        {"state.contains": "ail", "document_type.prefix": "pd"},
        {"content_type": "any/thing"},
    ],
)
def test_a_legal_or_partial_value_of_a_column_with_few_is_answered(
    client: httpx.Client, parameters: dict[str, str]
) -> None:
    assert client.get("/modules/mail/grid", params=parameters).status_code == 200


def test_a_value_that_a_parameter_does_not_have_is_named_with_those_that_it_has(
    client: httpx.Client,
) -> None:
    refused = client.get("/document-type-columns", params={"document_type": "mail"})
    detail = envelope(refused)["error"]["detail"]
    assert (refused.status_code, detail[-12:]) == (422, ", not 'mail'")
    assert all(repr(one.value) in detail for one in DocumentType)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"[" * 100_000, 422, "the body is not JSON"),
        (b"{", 422, "the body is not JSON"),
        (b'{"filterModel": {"title": {"type": "equals", "filter": "\\ud800"}}}', 422, "the body is not JSON"),
        (b"null", 422, "an object is needed"),
        (b'{"startRow": -1}', 422, "offset: 0 to 1000000, not -1"),
        (b'{"startRow": true}', 422, "a whole number"),
        (b'{"startRow": 1000001, "endRow": 1000101}', 422, "go further with the cursor of each page"),
        (
            b'{"paginationModel": {"page": 20001, "pageSize": 50}}',
            422,
            "go further with the cursor of each page",
        ),
        (b'{"startRow": 5, "endRow": 5}', 422, "1 to 500 rows behind startRow, not 0"),
        (b'{"groupKeys": ["a"]}', 422, "rows cannot be grouped, aggregated or pivoted here"),
        (b'{"filterModel": {"title": {"type": "sounds like", "filter": "x"}}}', 422, "no operation"),
        (b'{"sortModel": [{"colId": "title", "sort": "asc; drop"}]}', 422, "sort is asc or desc"),
        (b'{"filterModel": {"items": [{"field": "id"}]}}', 422, "no operation"),
        (b" " * 1_100_000, 413, "the body has more than 1048576 bytes"),
    ],
)
def test_a_wrong_body_is_refused_with_what_is_legal(
    client: httpx.Client, body: bytes, status: int, detail: str
) -> None:
    answer = client.post("/modules/mail/grid", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert detail in envelope(answer)["error"]["detail"]
