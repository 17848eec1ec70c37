"""A caller can ask who it is, which modules there are, and for a file; a mistyped module is 404."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.plain_http import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

Live = Any  # of conftest


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with live.client() as opened:
        yield opened


def upload(client: httpx.Client, module: str, name: str, data: bytes) -> int:
    answer = client.post(f"/modules/{module}/documents", files=[("file", (name, data, "text/html"))])
    assert answer.status_code == 202, answer.text
    return int(answer.json()["data"]["documents"][0]["id"])


def test_a_token_is_told_what_it_may(live: Live) -> None:
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    _, token = live.add_token(name="ann", role="operator", modules=["b", "a"], expires_at=expires_at)
    with http_client(live.url, token=token) as ann, live.client("system_admin") as admin:
        assert ann.get("/whoami").json()["data"] == {
            "name": "ann",
            "role": "operator",
            "modules": ["a", "b"],
            "expires_at": expires_at.isoformat(),
        }
        assert admin.get("/whoami").json()["data"] == {
            "name": "system_admin",
            "role": "system_admin",
            "modules": None,
            "expires_at": None,
        }


def test_modules_are_listed_page_by_page_to_those_who_may_see_them(live: Live, client: httpx.Client) -> None:
    for module in ("list-b", "list-a", "list-c"):
        upload(client, module, "a.txt", b"text")
    client.post(
        "/document-type-columns", json={"module": "list-d", "document_type": "pdf", "column": "title"}
    )
    seen: list[str] = []
    after: str | None = "list-"
    while after is not None:
        page = client.get("/modules", params={"limit": 2, "after": after}).json()
        seen += [entry["name"] for entry in page["data"]]
        after = page["meta"]["next_after"]
    assert [name for name in seen if name.startswith("list-")] == ["list-a", "list-b", "list-c", "list-d"]
    _, token = live.add_token(modules=["list-b", "never-used"])
    with http_client(live.url, token=token) as limited:
        [entry] = limited.get("/modules").json()["data"]
    assert (entry["name"], entry["latest_received_at"] is not None) == ("list-b", True)
    assert client.get("/modules?after=no%20module").status_code == 422
    assert client.get("/modules?limit=501").status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/modules/{module}/grid"),
        ("GET", "/modules/{module}/grid?mail_number=MN-1"),
        ("GET", "/modules/{module}/grid?title.contains=abc&offset=3"),
        ("POST", "/modules/{module}/grid"),
        ("GET", "/modules/{module}/grid.csv"),
        ("GET", "/modules/{module}/columns"),
        ("POST", "/modules/{module}/documents/delete"),
        ("POST", "/modules/{module}/documents/retry"),
        ("GET", "/modules/{module}/bulk-jobs"),
        ("GET", "/modules/{module}/bulk-jobs/00000000-0000-0000-0000-000000000000"),
    ],
)
def test_an_unknown_module_is_404_for_who_may_see_all(
    live: Live, client: httpx.Client, method: str, path: str
) -> None:
    body = {"ids": [1]} if "documents/" in path else {}
    asked = {"json": body} if method == "POST" else {}
    for _ in range(2):  # nothing of it is cached
        answer = client.request(method, path.format(module="mistyped"), **asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_module")
    # A token that names it may well be its first user.
    _, token = live.add_token(role="operator", modules=["mistyped"])
    with http_client(live.url, token=token) as named:
        own = named.request(method, path.format(module="mistyped"), **asked)
        assert own.status_code == (404 if path.endswith("0000") else 202 if "documents/" in path else 200)
        other = named.request(method, path.format(module="elsewhere"), **asked)
        assert (other.status_code, other.json()["error"]["code"]) == (403, "module_forbidden")


def test_a_module_is_known_from_its_first_document_on(client: httpx.Client) -> None:
    assert client.get("/modules/first/grid").status_code == 404
    upload(client, "First", "a.txt", b"text")
    assert client.get("/modules/first/grid").json()["data"]["total"] == 1
    assert client.get("/modules/first/grid?title=nothing").json()["data"]["total"] == 0


# Files


def test_a_file_is_downloaded_byte_for_byte_and_can_do_nothing(live: Live, client: httpx.Client) -> None:
    page = b"<script>alert(document.domain)</script>" + bytes(range(256)) * 3000
    document = upload(client, "files", "näm;e%.html", page)
    with live.client("viewer") as viewer:
        answer = viewer.get(f"/documents/{document}/content")
    assert answer.content == page
    headers = {name: answer.headers[name] for name in answer.headers if name not in ("date", "x-request-id")}
    assert headers == {
        "content-length": str(len(page)),
        "content-type": "application/octet-stream",
        "content-disposition": "attachment; filename=\"n_m;e_.html\"; filename*=UTF-8''n%C3%A4m%3Be%25.html",
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private, no-store",
        "x-content-type-options": "nosniff",
    }


def test_a_file_is_open_to_those_who_see_its_module_alone(live: Live, client: httpx.Client) -> None:
    document = upload(client, "private", "a.txt", b"text")
    found = {}
    for name, modules in (("here", ["private"]), ("elsewhere", ["other"])):
        with http_client(live.url, token=live.add_token(modules=modules)[1]) as caller:
            found[name] = caller.get(f"/documents/{document}/content").status_code
    assert found == {"here": 200, "elsewhere": 403}
    assert client.get("/documents/999999/content").status_code == 404


def test_a_file_that_the_store_lacks_is_told_so(live: Live, client: httpx.Client) -> None:
    document = upload(client, "lost", "a.txt", b"text")
    blobs = Path(urlsplit(live.environment["DOCSERVICE_BLOB_URL"]).path)
    for path in blobs.rglob("*"):
        if path.is_file() and path.read_bytes() == b"text":
            path.unlink()
    answer = client.get(f"/documents/{document}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "content_missing")
    assert "restore it" in answer.json()["error"]["detail"]
