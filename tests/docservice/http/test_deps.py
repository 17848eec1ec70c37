"""Who may call which route."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from docservice.http.app import create_app, openapi_document
from tests.docservice.http.calls import Live, upload
from tests.support.plain_http import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docservice.config import Settings


ROUTES: list[tuple[str, str, dict[str, Any] | None, str | None]] = [
    # method, path, body, least role
    ("GET", "/modules/{module}/grid", None, "viewer"),
    ("POST", "/modules/{module}/grid", {}, "viewer"),
    ("GET", "/modules/{module}/grid.csv", None, "viewer"),
    ("POST", "/modules/{module}/grid.csv", {}, "viewer"),
    ("GET", "/modules/{module}/columns", None, "viewer"),
    ("GET", "/documents", None, "viewer"),
    ("GET", "/documents/{document_id}", None, "viewer"),
    ("GET", "/documents/{document_id}/text", None, "viewer"),
    ("GET", "/documents/{document_id}/content", None, "viewer"),
    ("DELETE", "/documents/{document_id}", None, "operator"),
    ("POST", "/documents/{document_id}/retry", None, "operator"),
    ("POST", "/modules/{module}/documents/delete", {}, "operator"),
    ("POST", "/modules/{module}/documents/retry", {}, "operator"),
    ("GET", "/modules/{module}/bulk-jobs", None, "operator"),
    ("GET", "/modules/{module}/bulk-jobs/{job_id}", None, "operator"),
    ("GET", "/modules", None, "viewer"),
    ("GET", "/whoami", None, "viewer"),
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
    "job_id": "00000000-0000-0000-0000-000000000000",
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
    with http_client(live.url, token=token) as client:
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
    with http_client(live.url, token=token) as client:
        assert client.get("/modules/mail/grid").status_code == 200
        assert client.get("/admin/audit").status_code == 200
        live.revoke(token_id)
        assert client.get("/admin/audit").status_code == 401
        assert client.get("/modules/mail/grid").status_code == 401
        assert client.get("/documents", params={"id": 1}).status_code == 401


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="late.txt"\r\n\r\n'


@pytest.mark.parametrize(
    ("path", "kind", "begin", "end"),
    [
        ("/modules/mail/grid.csv", "application/json", b"{", b"}"),
        ("/modules/mail/grid", "application/json", b"{", b"}"),
        ("/modules/mail/documents", "multipart/form-data; boundary=b", FORM, b"\r\n--b--\r\n"),
    ],
)
def test_a_token_that_is_revoked_while_the_body_comes_is_refused(
    live: Live, path: str, kind: str, begin: bytes, end: bytes
) -> None:
    token_id, token = live.add_token(role="operator")

    def body() -> Iterator[bytes]:
        yield begin
        revoking = threading.Thread(target=live.revoke, args=(token_id,))
        revoking.start()
        while revoking.is_alive():  # fast enough for the bound on slow bodies
            yield b" " * 2000
            revoking.join(0.2)
        yield end

    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    with live.client(None) as client:
        assert client.post(path, content=body(), headers=headers).status_code == 401
    with live.client() as client:
        assert client.get("/modules/mail/grid?file_name=late.txt").json()["data"]["rows"] == []


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
