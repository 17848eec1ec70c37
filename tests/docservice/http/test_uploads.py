"""Uploads are stored once, and cost no more than they may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    import httpx

Live = Any  # of conftest


def upload(client: httpx.Client, module: str, key: str | None, *texts: bytes) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    files = [("file", (f"{place}.txt", text)) for place, text in enumerate(texts)]
    return client.post(f"/modules/{module}/documents", files=files, headers=headers)


def total(client: httpx.Client, module: str) -> int:
    answer = client.get(f"/modules/{module}/grid")
    if answer.status_code == 404:  # a module begins with its first document
        assert answer.json()["error"]["code"] == "unknown_module"
        return 0
    count: int = answer.json()["data"]["total"]
    return count


def execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def test_an_upload_that_is_repeated_is_stored_once(client: httpx.Client) -> None:
    first, again = [upload(client, "once", "key-u", b"one", b"two") for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 202)
    assert (again.json()["data"], total(client, "once")) == (first.json()["data"], 2)
    other = upload(client, "once", "key-u", b"one", b"three")
    assert (other.status_code, total(client, "once")) == (422, 2)
    assert upload(client, "once", None, b"one", b"two").status_code == 202
    assert total(client, "once") == 4


def test_an_upload_whose_process_died_after_the_commit_is_not_stored_again(
    live: Live, client: httpx.Client
) -> None:
    first = upload(client, "died", "key-d", b"one", b"two")
    execute(
        live.database_url,
        "update idempotency_keys set status = null, created_at = now() - interval '2 minutes', answer ="
        " (select jsonb_build_object('blob_keys', jsonb_agg(blob_key order by id)) from documents"
        " where module = 'died') where key = 'key-d'",
    )
    again = upload(client, "died", "key-d", b"one", b"two")
    assert (again.status_code, again.json()["data"]) == (202, first.json()["data"])
    assert total(client, "died") == 2


@pytest.mark.parametrize("place", ["before", "within", "after"])
def test_bytes_around_the_files_are_bounded(client: httpx.Client, place: str) -> None:
    ballast = b"x" * 1_000_000
    before = ballast + b"\r\n" if place == "before" else b""
    header = b"X-Long: " + ballast + b"\r\n" if place == "within" else b""
    after = ballast if place == "after" else b""
    body = (
        before
        + b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
        + header
        + b"\r\ntext\r\n--b--\r\n"
        + after
    )
    answer = client.post(
        "/modules/around/documents",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code in (413, 422)
    assert total(client, "around") == 0
