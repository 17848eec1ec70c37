"""Every attempt at the workers is told in the audit, whatever came of it: who, from where, what, the outcome.

Never a token. Those who bear none or an unknown one are kept too, but so many a minute at most: the table
must not be filled by strangers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request

from autoscaler.api import OverrideError
from docservice.domain.identity import Identity
from docservice.http.context import request_id
from docservice.http.envelope import JSON
from docservice.http.errors import ApiError, api_error
from docservice.http.services import Services
from docservice.log import logger
from docservice.postgres.administration import AuditRecord, DrainRunsError
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError
from docservice.workers import ControlError

_STRANGERS_A_MINUTE = 60


class Attempt:
    """One attempt; :meth:`run` does the work and tells what came of it."""

    def __init__(self, serving: Services, request: Request, identity: Identity | None, action: str) -> None:
        self._serving = serving
        self._identity = identity
        self._action = action
        self._address = request.client.host if request.client else "unknown"
        self._begun = time.monotonic()
        self._state = request.state
        self.before: dict[str, int] | None = None
        self.after: dict[str, int] | None = None

    async def run(self, asked: dict[str, Any], work: Callable[[], Awaitable[JSON]]) -> JSON:
        """The answer of the work; its fault as what the caller is told."""
        try:
            done = await work()
        except Exception as fault:
            error = _told(fault)
            await self.record(asked, error.code, error.status_code)
            raise error from fault
        await self.record(asked, "done", done.status_code)
        return done

    async def record(self, asked: dict[str, Any], outcome: str, status: int) -> None:
        """Keep one record."""
        self._state.audited = True
        identity = self._identity
        await self._serving.administration.record(
            AuditRecord(
                request_id=request_id(),
                token_id=None if identity is None else identity.token_id,
                actor="unknown" if identity is None else identity.name,
                remote_address=self._address,
                action=self._action,
                request=asked,
                size_before=self.before,
                size_after=self.after,
                outcome=outcome,
                status=status,
                duration_seconds=round(time.monotonic() - self._begun, 6),
            )
        )


def _told(fault: Exception) -> ApiError:
    if isinstance(fault, ControlError):
        return ApiError(503, f"{fault}; try again", headers={"Retry-After": "2"})
    if isinstance(fault, OverrideError):
        return ApiError(422, str(fault))
    if isinstance(fault, DrainRunsError):
        return ApiError(409, str(fault))
    return api_error(fault)


class Refusals:
    """Tells of attempts that were refused before they came to a route's own work."""

    def __init__(self) -> None:
        self._minute = 0
        self._strangers = 0

    async def record(self, serving: Services, request: Request, error: ApiError) -> None:
        """Keep a record of a refused attempt, unless it is told already."""
        if getattr(request.state, "audited", False) or not request.url.path.startswith("/admin/"):
            return
        identity = getattr(request.state, "identity", None)
        if identity is None and not self._one_more_stranger():
            return
        action = f"{request.method} {request.url.path}"[:200]
        try:
            attempt = Attempt(serving, request, identity, action)
            await attempt.record({}, error.code, error.status_code)
        except (StoreUnavailableError, StoreTimeoutError):
            logger("audit").warning("audit.not_kept", action=action, status=error.status_code)

    def _one_more_stranger(self) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        return self._strangers <= _STRANGERS_A_MINUTE
