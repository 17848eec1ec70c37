"""A token that was revoked or has expired is refused from the next request on, whatever is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from autoscaler.demo.embedded import RedisServer
from docservice.domain.identity import Identity, Role
from docservice.http.auth import Authenticator
from docservice.http.errors import ApiError
from docservice.page_cache import Reading
from tests.support.plain_http import http_client

if TYPE_CHECKING:
    from pathlib import Path

Live = Any  # of conftest
PATHS = (
    "/modules/mail/grid",
    "/modules/mail/grid?mail_number=MN-1",
    "/modules/mail/grid?mail_number.prefix=MN-20",
    "/modules/mail/grid?mail_number.contains=MN-2026",
    "/modules/mail/grid.csv",
    "/modules/mail/columns",
    "/documents?id=1",
    "/document-type-columns",
)


def statuses(live: Live, token: str, *, times: int = 1) -> set[int]:
    seen: set[int] = set()
    with http_client(live.url, token=token) as client:
        for _ in range(times):
            seen |= {client.get(path).status_code for path in PATHS}
            seen.add(client.post("/modules/mail/grid", json={}).status_code)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("cache_seconds", ["60", "0"])
def test_a_revoked_token_is_refused_from_the_next_request_on(
    database_url: str, redis_url: str, tmp_path: Path, api_runner: Any, cache_seconds: str
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        "DOCSERVICE_CACHE_SECONDS": cache_seconds,
    }
    with api_runner(tmp_path, environment) as live:
        token_id, token = live.add_token()
        assert statuses(live, token, times=2) <= {200, 404}
        live.revoke(token_id)
        assert statuses(live, token) == {401}


@pytest.mark.slow
def test_without_redis_a_revoked_token_is_refused_from_the_next_request_on(
    database_url: str, tmp_path: Path, api_runner: Any
) -> None:
    async def revoke(token_id: int) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("update tokens set revoked_at = now() where id = $1", token_id)
        await connection.close()

    with RedisServer(tmp_path / "redis") as server:
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": server.url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        }
        with api_runner(tmp_path, environment) as live:
            token_id, token = live.add_token()
            assert statuses(live, token, times=2) <= {200, 404}
            server.stop()
            assert statuses(live, token) <= {200, 404}
            asyncio.run(revoke(token_id))
            assert statuses(live, token) == {401}


class Clock:
    """The time as the test sets it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class OneToken:
    """Tokens with one of them, which expires at a time; counts how often it is read."""

    def __init__(self, clock: Clock, expires_at: datetime) -> None:
        self._clock = clock
        self._identity = Identity(
            token_id=1, name="one", role=Role.VIEWER, modules=None, expires_at=expires_at
        )
        self.reads = 0

    async def find(self, _sha256: bytes) -> Identity | None:
        self.reads += 1
        return None if self._identity.expired(self._clock()) else self._identity


class Versions:
    """A cache that holds nothing and always reports the same version."""

    async def read(self, _key: str | None, _version: str) -> Reading:
        return Reading(value=None, stamp=b"1.", identities=b"1")

    async def store(self, *_: object, **__: object) -> None:
        return None


def test_a_remembered_token_does_not_outlive_its_expiry() -> None:
    async def walk() -> None:
        clock = Clock()
        tokens = OneToken(clock, clock.now + timedelta(seconds=5))
        auth = Authenticator(tokens=tokens, cache=Versions(), seconds=3600, now=clock)  # type: ignore[arg-type]
        for _ in range(3):
            assert (await auth.identify(b"x")).name == "one"
        assert (tokens.reads, auth.remembered(b"x") is None) == (1, False)
        clock.now += timedelta(seconds=5)
        assert auth.remembered(b"x") is None
        with pytest.raises(ApiError) as refused:
            await auth.identify(b"x")
        assert (refused.value.status_code, tokens.reads) == (401, 2)

    asyncio.run(walk())
