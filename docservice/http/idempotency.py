"""Requests with an ``Idempotency-Key``: the same key gets the same answer, and nothing happens twice.

The key belongs to one token and one request. Its row in Postgres has one of three states:

- *in progress*: a request runs. Others with the key get 409 with ``Retry-After``.
- *abandoned*: in progress, and not saved for ``_LEASE_SECONDS``: its process is gone. The next request with
  the key takes the work up where the saved progress says it stopped.
- *finished*: the answer is stored, an error included when something was changed before it. A repetition gets
  it for a day.

A request that failed before it changed anything leaves no row, so it can be sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from docservice.http.envelope import JSON, answer
from docservice.http.errors import ApiError
from docservice.log import logger

if TYPE_CHECKING:
    from docservice.domain.identity import Identity
    from docservice.postgres.administration import Administration

_LEASE_SECONDS = 60.0


class SavedProgress:
    """How far one request has come. What is saved is what a later attempt continues from."""

    def __init__(self, save: Callable[[dict[str, Any]], Awaitable[None]], saved: dict[str, Any]) -> None:
        self._save = save
        self.saved = saved

    async def save(self, **values: Any) -> None:
        """Add to the progress, and keep the key for another lease.

        Raises:
            StoreUnavailableError: when Postgres does not answer. Change nothing then.
        """
        self.saved = {**self.saved, **values}
        await self._save(self.saved)


async def _not_saved(_: dict[str, Any]) -> None:
    """Without a key nothing continues later."""


class Idempotency:
    """Runs requests once for each key."""

    def __init__(self, administration: Administration) -> None:
        self._store = administration
        self._log = logger("idempotency")

    async def run(
        self,
        identity: Identity,
        key: str | None,
        request: str,
        work: Callable[[SavedProgress], Awaitable[JSON]],
    ) -> JSON:
        """Do the work, or return the answer that it had under this key.

        Raises:
            ApiError: 409 while a request with this key runs, 422 when the key was used for another request;
                and what the work raises.
        """
        if key is None:
            return await work(SavedProgress(_not_saved, {}))
        token_id = identity.token_id
        known = await self._store.begin_command(
            token_id=token_id, key=key, request=request, lease_seconds=_LEASE_SECONDS
        )
        if known.request != request:
            raise ApiError(422, "this Idempotency-Key was used for another request; use a new one")
        if known.status is not None:
            return _repeated(known.status, known.answer)
        if not known.ours:
            raise ApiError(
                409, "the request with this Idempotency-Key is in progress", headers={"Retry-After": "2"}
            )

        async def save(values: dict[str, Any]) -> None:
            await self._store.save_command(token_id=token_id, key=key, progress=values)

        progress = SavedProgress(save, known.answer or {})
        try:
            done = await work(progress)
        except ApiError as error:
            await self._failed(token_id, key, error, changed=bool(progress.saved))
            raise
        except Exception:
            await self._stopped(token_id, key, changed=bool(progress.saved))
            raise
        await self._finish(token_id, key, done.status_code, orjson.loads(done.body)["data"])
        return done

    async def _failed(self, token_id: int, key: str, error: ApiError, *, changed: bool) -> None:
        if not changed or error.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            await self._stopped(token_id, key, changed=changed)
        else:
            body = {"detail": error.detail, "code": error.code, "data": error.data}
            await self._finish(token_id, key, error.status_code, body)

    async def _stopped(self, token_id: int, key: str, *, changed: bool) -> None:
        """Let the next request with the key begin, or continue from the progress."""
        work = (
            self._store.release_command(token_id=token_id, key=key, lease_seconds=_LEASE_SECONDS)
            if changed
            else self._store.forget_command(token_id=token_id, key=key)
        )
        await self._quietly(work)

    async def _finish(self, token_id: int, key: str, status: int, body: object) -> None:
        await self._quietly(self._store.end_command(token_id=token_id, key=key, status=status, answer=body))

    async def _quietly(self, work: Awaitable[None]) -> None:
        """Await ``work``; when it fails the answer is still right, and a repetition continues."""
        try:
            await work
        except Exception as fault:  # noqa: BLE001 - see above
            self._log.warning("idempotency.save_failed", fault=type(fault).__name__)


def _repeated(status: int, stored: Any) -> JSON:
    if status >= HTTPStatus.BAD_REQUEST:
        raise ApiError(status, stored["detail"], code=stored["code"], data=stored["data"])
    return answer(stored, status=status, message="repeated: this is the first answer")
