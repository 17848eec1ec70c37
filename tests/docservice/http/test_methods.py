"""HEAD, OPTIONS, 405, CORS and compression are the same on every route."""

from __future__ import annotations

import asyncio
import gzip
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from docservice.config import ConfigError, read_settings
from docservice.http.compression import accepts_gzip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

Live = Any  # of conftest
ORIGIN = "https://app.example.org"


@pytest.fixture(scope="module")
def rows(live: Live) -> None:
    async def fill() -> None:
        connection = await asyncpg.connect(live.database_url)
        await connection.execute(
            "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
            " sha256, blob_key) select 'many', 'text', 'title ' || i, 'f', 't', 1, 's', 'k'"
            " from generate_series(1, 2000) i"
        )
        await connection.close()

    asyncio.run(fill())


@pytest.fixture
def client(live: Live, rows: None) -> Iterator[httpx.Client]:  # noqa: ARG001 - they are there first
    with live.client("system_admin") as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/modules/many/grid", "GET, HEAD, POST, OPTIONS"),
        ("/modules/many/grid.csv", "GET, HEAD, POST, OPTIONS"),
        ("/document-type-columns", "GET, HEAD, POST, OPTIONS"),
        ("/documents/1", "GET, HEAD, DELETE, OPTIONS"),
        ("/admin/celery/autoscale", "GET, HEAD, POST, OPTIONS"),
        ("/admin/celery/grow", "POST, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_path_names_all_its_methods(client: httpx.Client, path: str, allowed: str) -> None:
    options = client.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")
    refused = client.patch(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert refused.json()["error"] == {
        "code": "method_not_allowed",
        "detail": f"PATCH is not allowed here; use {allowed}",
    }
    assert client.options("/nothing").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/modules/many/grid",
        "/modules/many/grid.csv",
        "/livez",
        "/modules/mistyped/grid",
        "/whoami",
        "/nothing",
    ],
)
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    plain = {"Accept-Encoding": "identity"}
    got, head = client.get(path, headers=plain), client.head(path, headers=plain)
    own = ("date", "x-request-id", "x-cache", "content-length", "transfer-encoding")
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert {name: value for name, value in head.headers.items() if name not in own} == {
        name: value for name, value in got.headers.items() if name not in own
    }


@pytest.mark.parametrize("path", ["/modules/many/grid", "/modules/many/grid.csv", "/whoami", "/nothing"])
def test_another_request_may_follow_head_on_its_connection(
    live: Live, client: httpx.Client, path: str
) -> None:
    place = urlsplit(live.url)
    head = f" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {live.tokens['viewer']}\r\n"
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as peer:
        peer.sendall(f"HEAD {path}{head}\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += peer.recv(65_536)
        peer.sendall(f"GET /livez{head}Connection: close\r\n\r\n".encode())
        while part := peer.recv(65_536):
            got += part
    first, _, second = got.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 ")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    counted = (
        f'method="HEAD",route="{"unmatched" if path == "/nothing" else path.replace("many", "{module}")}"'
    )
    assert counted in client.get("/metrics").text


def test_large_answers_are_compressed_for_those_who_accept_it(client: httpx.Client) -> None:
    large, small = "/modules/many/grid?limit=500", "/modules/many/grid?limit=5"

    def ask(path: str, accepted: str) -> tuple[str | None, str | None]:
        answer = client.get(path, headers={"Accept-Encoding": accepted})
        assert answer.status_code == 200
        return answer.headers.get("content-encoding"), answer.headers.get("vary")

    vary = "Accept-Encoding"
    assert ask(large, "gzip") == ("gzip", vary)
    assert ask(large, "br, gzip;q=0.5") == ("gzip", vary)
    assert ask(large, "*") == ("gzip", vary)
    assert ask(large, "gzip;q=0") == (None, None), "no cache may store a page, whatever it varies by"
    assert ask("/modules/many/grid.csv", "identity") == (None, vary)
    assert ask(small, "gzip") == (None, None)
    assert ask("/modules/many/grid.csv", "gzip") == ("gzip", vary)
    assert ask("/openapi.json", "gzip") == ("gzip", vary)
    packed, plain = (
        client.get("/modules/many/grid.csv", headers={"Accept-Encoding": accepted})
        for accepted in ("gzip", "x")
    )
    assert packed.text == plain.text
    assert int(plain.headers["content-length"]) == len(plain.content)
    assert "content-length" in client.get(large, headers={"Accept-Encoding": "gzip"}).headers
    assert len(gzip.compress(plain.content, 1)) < len(plain.content) / 5


def ask_old(live: Live, path: str, accepted: str) -> tuple[dict[str, str], bytes]:
    """The headers and the body that an HTTP/1.0 client gets, which knows no chunks."""
    place = urlsplit(live.url)
    head = f"Host: x\r\nAccept-Encoding: {accepted}\r\nAuthorization: Bearer {live.tokens['viewer']}\r\n"
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as peer:
        peer.sendall(f"GET {path} HTTP/1.0\r\n{head}\r\n".encode())
        got = b"".join(iter(lambda: peer.recv(65_536), b""))
    first, _, body = got.partition(b"\r\n\r\n")
    return dict(line.lower().split(": ", 1) for line in first.decode().split("\r\n")[1:]), body


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
@pytest.mark.parametrize(
    "path", ["/modules/many/grid?limit=500", "/modules/many/grid.csv", "/openapi.json", "/docs", "/nothing"]
)
def test_an_old_client_gets_no_chunks(live: Live, client: httpx.Client, path: str, accepted: str) -> None:
    headers, body = ask_old(live, path, accepted)
    assert (headers.get("transfer-encoding"), headers["content-length"]) == (None, str(len(body)))
    read = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
    if b"request_id" not in read:  # which is another in each answer
        assert read == client.get(path).content


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        (b"GZIP", True),
        (b"br, gzip ; q=0.001", True),
        (b"*", True),
        (b"gzip;q=0.000", False),
        (b"identity, *;q=0", False),
        (b"gzip;q=0, *", False),
        (b"*, gzip ; Q=0.0 ,br", False),
        (b"x-gzip", False),
    ],
)
def test_gzip_is_for_those_who_accept_it_and_do_not_refuse_it(asked: bytes, *, accepted: bool) -> None:
    assert accepts_gzip({b"accept-encoding": asked}) is accepted


@pytest.mark.slow
def test_pages_of_other_origins_may_ask_where_the_settings_name_them(
    live: Live,
    rows: None,  # noqa: ARG001 - they are there first
    tmp_path: Path,
    api_runner: Any,
) -> None:
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    with live.client() as client:  # off unless it is set
        answers = [client.options("/modules/many/grid", headers=preflight)]
        answers.append(client.get("/modules/many/grid", headers={"Origin": ORIGIN}))
        assert not [name for one in answers for name in one.headers if name.startswith("access-control")]
    environment = {**live.environment, "DOCSERVICE_CORS_ORIGINS": f"https://other.example.org, {ORIGIN}"}
    with api_runner(tmp_path, environment) as running, running.client() as client:
        asked = client.options("/modules/many/grid", headers=preflight)
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert "POST" in asked.headers["access-control-allow-methods"]
        for path in ("/modules/many/grid", "/whoami", "/nothing", "/modules/many/grid?nope=1"):
            answer = client.get(path, headers={"Origin": ORIGIN})
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "Origin" in answer.headers["vary"]
            foreign = client.get(path, headers={"Origin": "https://evil.example.org"})
            assert "access-control-allow-origin" not in foreign.headers
        with socket.create_connection(("127.0.0.1", urlsplit(running.url).port or 0), timeout=20) as peer:
            peer.sendall(
                f"POST /modules/many/grid HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\n"
                "Content-Length: 2000000\r\n\r\n".encode()
            )
            refused = peer.recv(65_536).decode()
        assert refused.startswith("HTTP/1.1 413 ")
        assert f"access-control-allow-origin: {ORIGIN}\r\n" in refused
        assert client.options("/whoami").headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "origins", ["example.org", "https://example.org/", "https://a.b,,", "null", "https://*.b"]
)
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(ConfigError, match="is no origin; write https://HOST"):
        read_settings(
            {
                "REDIS_URL": "redis://h/0",
                "DATABASE_URL": "postgresql://h/d",
                "DOCSERVICE_CORS_ORIGINS": origins,
            }
        )
