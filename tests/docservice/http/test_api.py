"""The API as its callers see it, over HTTP, on a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from autoscaler.demo.embedded import wait_until
from docservice.dev.samples import sample_mail
from docservice.http.app import create_app, openapi_document

if TYPE_CHECKING:
    from docservice.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

Live = Any  # of conftest


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with live.client() as opened:
        yield opened


def upload(client: httpx.Client, module: str, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    return client.post(
        f"/modules/{module}/documents",
        files=[("file", (name, data, "application/octet-stream")) for name, data in files],
        data=fields,
    )


def envelope(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert set(body) == {"success", "message", "data", "error", "meta"}
    assert body["meta"]["request_id"] == answer.headers["x-request-id"]
    assert body["success"] == (answer.status_code < 400) == (body["error"] is None)
    return body


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
    ],
)
def test_what_no_grid_has_is_422_with_what_is_legal(
    client: httpx.Client, parameters: dict[str, str], detail: str
) -> None:
    answer = client.get("/modules/mail/grid", params=parameters)
    assert answer.status_code == 422
    assert detail in envelope(answer)["error"]["detail"]


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"[" * 100_000, 422, "the body is not JSON"),
        (b"{", 422, "the body is not JSON"),
        (b'{"filterModel": {"title": {"type": "equals", "filter": "\\ud800"}}}', 422, "the body is not JSON"),
        (b"null", 422, "an object is needed"),
        (b'{"startRow": -1}', 422, "offset: 0 to 1000000, not -1"),
        (b'{"startRow": true}', 422, "a whole number"),
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


def test_a_large_body_is_refused_before_it_came_on_every_route(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    for path in ("/modules/mail/grid", "/document-type-columns"):
        answer = client.post(path, content=chunks(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, envelope(answer)["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/modules/mail/grid", 405),
        ("POST", "/modules/mail/grid.csv", 405),
        ("DELETE", "/livez", 405),
        ("GET", "/documents/999999", 404),
        ("GET", "/documents/nine", 422),
        ("GET", "/documents/99999999999999999999", 422),
        ("GET", "/modules/a%20b/grid", 422),
        ("GET", "/modules/%E2%84%AAelvin/grid", 422),
        ("GET", "/modules/..%2F..%2Fetc/grid", 404),
        ("DELETE", "/document-type-columns/999999", 404),
    ],
)
def test_every_fault_is_told_in_the_envelope(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert envelope(answer)["error"]["detail"]


# Columns


def test_columns_are_chosen_by_module_and_type(client: httpx.Client) -> None:
    new = {"module": "Choice", "document_type": "email", "column": "mail_number", "label": "Number"}
    made = client.post("/document-type-columns", json=new)
    assert made.status_code == 201
    stored = envelope(made)["data"]
    assert {name: stored[name] for name in ("module", "column", "label", "position")} == {
        "module": "choice",
        "column": "mail_number",
        "label": "Number",
        "position": 0,
    }
    again = client.post("/document-type-columns", json=new)
    assert (again.status_code, envelope(again)["error"]["code"]) == (409, "conflict")
    found = client.get("/document-type-columns", params={"module": "CHOICE", "document_type": "email"})
    assert envelope(found)["data"] == [stored]
    types = client.get("/document-type-columns/mail_number/document-types")
    assert envelope(types)["data"] == [
        {"module": "choice", "document_type": "email", "label": "Number", "position": 0}
    ]
    columns = {item["name"]: item for item in client.get("/modules/choice/columns").json()["data"]}
    assert columns["mail_number"]["document_types"] == ["email"]
    assert columns["mail_number"]["operations"] == [
        *("exact", "prefix", "contains", "suffix", "not", "not_contains", "blank", "filled")
    ]
    assert envelope(client.delete(f"/document-type-columns/{stored['id']}"))["data"] == {"id": stored["id"]}
    assert client.get("/document-type-columns", params={"module": "choice"}).json()["data"] == []


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"column": "blob_key"}, "there is no column 'blob_key'"),
        ({"document_type": "spell"}, "document_type"),
        ({"module": "no module"}, "a module's name has"),
        ({"label": "a\u0000b"}, "label"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_wrong_column_is_refused(client: httpx.Client, change: dict[str, Any], detail: str) -> None:
    new = {"module": "mail", "document_type": "email", "column": "title", **change}
    answer = client.post("/document-type-columns", json=new)
    assert answer.status_code == 422
    assert detail in envelope(answer)["error"]["detail"]


# Uploads


def test_an_upload_is_accepted_with_ids_and_a_status_url(client: httpx.Client) -> None:
    mail = sample_mail(1)
    answer = upload(client, "mail", ("../../a.eml", mail), ("b.bin", b"\x00\x01"))
    data = envelope(answer)["data"]
    assert answer.status_code == 202
    assert [(one["file_name"], one["document_type"], one["size_bytes"]) for one in data["documents"]] == [
        ("a.eml", "email", len(mail)),
        ("b.bin", "other", 2),
    ]
    states = envelope(client.get(data["status_url"]))["data"]
    assert [(one["module"], one["state"]) for one in states] == [("mail", "received")] * 2
    assert (
        envelope(client.get(data["documents"][0]["status_url"]))["data"]["sha256"]
        == data["documents"][0]["sha256"]
    )


def test_nothing_of_an_upload_with_a_fault_is_kept(live: Live, client: httpx.Client) -> None:
    def stored() -> set[Path]:
        blobs = Path(urlsplit(live.environment["DOCSERVICE_BLOB_URL"]).path)
        return {path for path in blobs.rglob("*") if path.is_file()}

    upload(client, "kept", ("a.txt", b"text"))
    before = stored()
    too_large = upload(client, "kept", ("a.txt", b"text"), ("b.bin", b"x" * 2_000_001))
    empty = upload(client, "kept", ("a.txt", b"text"), ("b.bin", b""))
    too_many = upload(client, "kept", *((f"{place}.txt", b"text") for place in range(51)))
    number = upload(client, "kept", ("a.txt", b"text"), mail_number="\x01")
    assert [
        (answer.status_code, envelope(answer)["error"]["detail"])
        for answer in (too_large, empty, too_many, number)
    ] == [
        (413, "the file 'b.bin' has more than 2000000 bytes"),
        (422, "the file 'b.bin' has no bytes"),
        (413, "a request has at most 50 files; send the rest in another"),
        (422, "mail_number: a mail number has no control character such as U+0001"),
    ]
    assert stored() == before
    assert client.get("/modules/kept/grid").json()["data"]["total"] == 1


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("application/json", b"{}", 415, "multipart/form-data with a boundary is needed"),
        ("multipart/form-data", b"", 415, "multipart/form-data with a boundary is needed"),
        ("multipart/form-data; boundary=b", b"", 422, "ended before its last boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx", 422, "Content-Disposition: form-data"),
        ("multipart/form-data; boundary=b", b"junk" * 100, 422, "malformed"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n--b--\r\n',
            422,
            "the only field beside files is mail_number",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="mail_number"\r\n\r\nMN\r\n--b--\r\n',
            422,
            "the body has no file",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
            422,
            "malformed",
        ),
    ],
)
def test_a_body_that_is_no_upload_is_refused(
    client: httpx.Client, content_type: str, body: bytes, status: int, detail: str
) -> None:
    answer = client.post("/modules/mail/documents", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, detail in envelope(answer)["error"]["detail"]) == (status, True)


def test_a_client_that_pauses_within_a_body_is_told_so(live: Live) -> None:
    host, port = urlsplit(live.url).hostname, urlsplit(live.url).port
    with socket.create_connection((host, port), timeout=20) as peer:
        peer.sendall(
            b"POST /modules/mail/grid HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10\r\nAuthorization: Bearer " + live.tokens["viewer"].encode() + b"\r\n\r\n{"
        )
        assert peer.recv(100).startswith(b"HTTP/1.1 408 ")


# Identity


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"Bearer %b", b"Basic eA=="], 200),
        ([b"Basic eA==", b"Bearer %b"], 401),
        ([b"bearer \t %b\t"], 200),
        ([b"Bearer%b"], 401),
        ([b"Bearer %b x"], 401),
    ],
)
@pytest.mark.parametrize("path", ["/modules/mail/grid", "/modules/mail/columns"])
def test_of_several_headers_the_first_counts(
    live: Live, path: str, headers: list[bytes], status: int
) -> None:
    token = live.tokens["viewer"].encode()
    written = b"".join(b"Authorization: " + header.replace(b"%b", token) + b"\r\n" for header in headers)
    with socket.create_connection((urlsplit(live.url).hostname, urlsplit(live.url).port), timeout=20) as peer:
        peer.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + written + b"\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 %d " % status)


ROUTES: list[tuple[str, str, dict[str, Any] | None, str | None]] = [
    # method, path, body, least role
    ("GET", "/modules/{module}/grid", None, "viewer"),
    ("POST", "/modules/{module}/grid", {}, "viewer"),
    ("GET", "/modules/{module}/grid.csv", None, "viewer"),
    ("GET", "/modules/{module}/columns", None, "viewer"),
    ("GET", "/documents", None, "viewer"),
    ("GET", "/documents/{document_id}", None, "viewer"),
    ("GET", "/documents/{document_id}/text", None, "viewer"),
    ("POST", "/modules/{module}/documents", None, "operator"),
    ("GET", "/document-type-columns", None, "viewer"),
    ("POST", "/document-type-columns", {}, "operator"),
    ("DELETE", "/document-type-columns/{column_id}", None, "operator"),
    ("GET", "/document-type-columns/{column}/document-types", None, "viewer"),
    ("GET", "/admin/celery/inspect", None, "system_admin"),
    ("GET", "/admin/celery/autoscale", None, "system_admin"),
    ("POST", "/admin/celery/autoscale", {}, "system_admin"),
    ("POST", "/admin/celery/grow", {}, "system_admin"),
    ("POST", "/admin/celery/shrink", {}, "system_admin"),
    ("POST", "/admin/celery/drain_shutdown", {}, "system_admin"),
    ("GET", "/admin/celery/drain_shutdown/{drain_id}", None, "system_admin"),
    ("GET", "/admin/audit", None, "system_admin"),
    ("GET", "/livez", None, None),
    ("GET", "/readyz", None, None),
    ("GET", "/metrics", None, None),
]
ORDER = ["viewer", "operator", "system_admin"]
VALUES = {
    "module": "mail",
    "document_id": "1",
    "column_id": "999999",
    "column": "title",
    "drain_id": "00000000-0000-0000-0000-000000000000",
}


def test_every_route_holds_the_matrix_of_tokens(live: Live) -> None:
    revoked_id, revoked = live.add_token(role="system_admin")
    live.revoke(revoked_id)
    _, expired = live.add_token(role="system_admin", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    bearers: dict[str, str | None] = {
        "none": None,
        "bad": "ds_" + "x" * 43,
        "malformed": "nothing",
        "expired": expired,
        "revoked": revoked,
        **live.tokens,
    }
    wrong = []
    with live.client(None) as client:
        for method, path, body, least in ROUTES:
            for bearer, token in bearers.items():
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                answer = client.request(method, path.format(**VALUES), json=body, headers=headers)
                code = answer.status_code
                if least is None:
                    right = code == 200
                elif bearer not in ORDER:
                    right = code == 401 and answer.headers["www-authenticate"] == "Bearer"
                elif ORDER.index(bearer) < ORDER.index(least):
                    right = code == 403
                else:
                    right = code not in (401, 403) and code < 505
                if not right:
                    wrong.append((method, path, bearer, code))
    assert wrong == []


def test_a_token_sees_its_modules_alone(live: Live) -> None:
    with live.client() as operator:
        mine = upload(operator, "mine", ("a.txt", b"text")).json()["data"]["documents"][0]["id"]
        other = upload(operator, "other", ("a.txt", b"text")).json()["data"]["documents"][0]["id"]
    _, token = live.add_token(role="operator", modules=["mine"])
    with httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {token}"}) as client:
        seen = [
            client.get("/modules/MINE/grid"),
            client.get("/modules/other/grid"),
            client.get("/modules/other/grid.csv"),
            client.get("/modules/other/columns"),
            client.get(f"/documents/{mine}"),
            client.get(f"/documents/{other}"),
            client.get(f"/documents/{other}/text"),
            upload(client, "other", ("a.txt", b"text")),
            client.post(
                "/document-type-columns", json={"module": "Other", "document_type": "pdf", "column": "title"}
            ),
            client.get("/document-type-columns", params={"module": "other"}),
        ]
        lot = client.get("/documents", params={"id": [mine, other]})
    assert [answer.status_code for answer in seen] == [200, 403, 403, 403, 200, 403, 403, 403, 403, 403]
    assert [one["id"] for one in lot.json()["data"]] == [mine]


def test_a_revoked_token_ends_at_once(live: Live) -> None:
    token_id, token = live.add_token(role="system_admin")
    with httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {token}"}) as client:
        assert client.get("/modules/mail/grid").status_code == 200
        assert client.get("/admin/audit").status_code == 200
        live.revoke(token_id)
        assert client.get("/admin/audit").status_code == 401
        assert client.get("/modules/mail/grid").status_code == 401
        assert client.get("/documents", params={"id": 1}).status_code == 401


def test_the_matrix_leaves_no_route_out(settings: Settings) -> None:
    document = openapi_document(create_app(settings).framework)
    found = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    walked = {
        (method, path.replace("/modules/mail/grid", "/modules/{module}/grid"))
        for method, path, _, _ in ROUTES
    }
    assert walked == found


# Around


def test_health_and_metrics_tell_what_is(client: httpx.Client) -> None:
    assert envelope(client.get("/livez"))["data"] == {"status": "alive"}
    assert envelope(client.get("/readyz"))["data"] == {
        "status": "ready",
        "postgres": "up",
        "redis": "up",
        "migrations": "applied",
        "background": [],
    }
    client.get("/modules/mail/grid")
    client.get("/modules/mail/grid")
    text = client.get("/metrics").text
    assert re.search(r'docservice_cache_reads_total\{result="hit"\} [1-9]', text)
    assert re.search(r"docservice_cache_load_seconds_count [1-9]", text)
    assert 'route="/modules/{module}/grid",status="200"' in text
    assert "/modules/mail" not in text


def test_request_ids_are_taken_when_legal_and_drawn_otherwise(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    drawn = client.get("/livez", headers={"X-Request-ID": "a b<script>"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]{8}", drawn)


def test_the_access_log_has_a_line_for_each_request_and_no_token(live: Live) -> None:
    with live.client("viewer") as client:
        client.get(
            "/modules/mail/grid", params={"title": "very private"}, headers={"X-Request-ID": "find-me"}
        )
    wait_until(lambda: "find-me" in live.process.log(), within_seconds=5, what="the line in the access log")
    (line,) = [json.loads(line) for line in live.process.log().splitlines() if "find-me" in line]
    assert {name: line[name] for name in ("event", "method", "path", "status", "remote_address")} == {
        "event": "http.request",
        "method": "GET",
        "path": "/modules/mail/grid",
        "status": 200,
        "remote_address": "127.0.0.1",
    }
    log = live.process.log()
    assert not any(token in log for token in live.tokens.values())
    assert "very private" not in log
    assert urlsplit(live.database_url).password not in log


@pytest.mark.parametrize(
    ("docs", "statuses"), [("off", [404, 404]), ("admin", [200, 401]), ("open", [200, 200])]
)
def test_the_api_is_described_only_where_the_settings_say_so(
    settings: Settings, docs: str, statuses: list[int]
) -> None:
    async def ask() -> list[int]:
        app = create_app(replace(settings, docs=docs))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get(path)).status_code for path in ("/docs", "/openapi.json")]

    assert asyncio.run(ask()) == statuses


def test_docs_load_all_they_need_from_this_service_alone(live: Live) -> None:
    with live.client(None) as client:
        page = client.get("/docs")
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert loaded == [
            "/docs/favicon.png",
            "/docs/swagger-ui.css",
            "/docs/swagger-ui-bundle.js",
            "/docs/start.js",
        ]
        answers = [client.get(path) for path in loaded]
        assert [answer.status_code for answer in answers] == [200] * 4
        kinds = [answer.headers["content-type"].partition(";")[0] for answer in answers]
        assert kinds == ["image/png", "text/css", "text/javascript", "text/javascript"]
        assert "SwaggerUIBundle" in answers[2].text
        for answer in (page, *answers):
            rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
            assert (rules["default-src"], rules["script-src"], rules["connect-src"]) == (
                "'none'",
                "'self'",
                "'self'",
            )
        assert re.findall(r"<script>|<script [^>]*>[^<]|\son\w+=|https?://", page.text) == []


def test_the_described_api_has_a_scheme_for_its_token(live: Live) -> None:
    with live.client(None) as client:
        document = client.get("/openapi.json").json()
        assert "/modules/{module}/grid" in document["paths"]
        (scheme,) = document["components"]["securitySchemes"].items()
        assert (scheme[0], scheme[1]["type"], scheme[1]["scheme"]) == ("HTTPBearer", "http", "bearer")
        start = client.get("/docs/start.js").text
        assert f'preauthorizeApiKey("{scheme[0]}", token)' in start


@pytest.mark.slow
def test_several_processes_of_one_api_are_counted_together(
    live: Live, tmp_path: Path, api_runner: Any
) -> None:
    environment = {**live.environment, "DOCSERVICE_WORKERS": "2"}
    with api_runner(tmp_path, environment) as running:
        for _ in range(20):  # each on a connection of its own, so that both processes get some
            with running.client("viewer") as client:
                assert client.get("/modules/mail/grid").status_code == 200
        with running.client(None) as client:

            def counted() -> float:
                text = client.get("/metrics").text
                found = re.search(r'route="/modules/\{module\}/grid",status="200"\} ([\d.]+)', text)
                return float(found[1]) if found else 0

            # What the other process answered last is counted a moment later.
            wait_until(lambda: counted() >= 20, within_seconds=20, what="the count of all requests")
            assert counted() == 20
