"""The audit: every attempt at the workers and at deleting or retrying documents, whatever its outcome.

It has who, from where, what, and the result.

The record is written before the work begins, with the outcome ``started``, and completed after it. So no
change is made without a record; and when completing it fails, the change was made and is answered as such.

Never a token. Callers without a valid token, or without the admin role, cannot fill the table: the former are
logged and counted only, the latter are recorded up to a number in a minute.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request

from autoscaler.api import BrokerError, OverrideError
from docservice.domain.identity import Identity, Role
from docservice.http.context import request_id
from docservice.http.envelope import JSON
from docservice.http.errors import ApiError, api_error
from docservice.http.services import Services
from docservice.log import logger
from docservice.postgres.administration import AuditRecord, DrainRunsError
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError
from docservice.workers import StoredOverrideError

_MAX_REFUSALS_A_MINUTE = 20
_IN_PROGRESS = 102


class Attempt:
    """One attempt; :meth:`run` does the work and records the result."""

    def __init__(self, serving: Services, request: Request, identity: Identity, action: str) -> None:
        self._serving = serving
        self._identity = identity
        self._action = action
        self._address = request.client.host if request.client else "unknown"
        self._begun = time.monotonic()
        self._state = request.state
        self._log = logger("audit")
        self.before: dict[str, int] | None = None
        self.after: dict[str, int] | None = None

    async def run(self, asked: dict[str, Any], work: Callable[[], Awaitable[JSON]]) -> JSON:
        """The answer of the work, or its fault as an ApiError.

        Raises:
            StoreUnavailableError: when the record cannot be written; the work has not begun then.
        """
        self._state.audited = True
        store = self._serving.administration
        record_id = await store.begin_record(self._record(asked, "started", _IN_PROGRESS))
        try:
            done = await work()
        except Exception as fault:
            error = _as_api_error(fault)
            await self._end(record_id, self._record(asked, error.code, error.status_code))
            raise error from fault
        await self._end(record_id, self._record(asked, "done", done.status_code))
        return done

    async def refused(self, error: ApiError) -> None:
        """Record an attempt that was refused before its work."""
        await self._serving.administration.begin_record(self._record({}, error.code, error.status_code))

    async def _end(self, record_id: int, record: AuditRecord) -> None:
        try:
            await self._serving.administration.end_record(record_id, record)
        except Exception as fault:  # noqa: BLE001 - the work is done, and its answer stays what it is
            self._log.warning(
                "audit.save_failed",
                record=record_id,
                outcome=record.outcome,
                status=record.status,
                size_before=record.size_before,
                size_after=record.size_after,
                fault=type(fault).__name__,
            )

    def _record(self, asked: dict[str, Any], outcome: str, status: int) -> AuditRecord:
        return AuditRecord(
            request_id=request_id(),
            token_id=self._identity.token_id,
            actor=self._identity.name,
            remote_address=self._address,
            action=self._action,
            request=asked,
            size_before=self.before,
            size_after=self.after,
            outcome=outcome,
            status=status,
            duration_seconds=round(time.monotonic() - self._begun, 6),
        )


def _as_api_error(fault: Exception) -> ApiError:
    if isinstance(fault, BrokerError):
        return ApiError(503, f"{fault}; try again", headers={"Retry-After": "2"})
    if isinstance(fault, OverrideError):
        return ApiError(422, str(fault))
    if isinstance(fault, StoredOverrideError):
        return ApiError(409, str(fault), code="invalid_override")
    if isinstance(fault, DrainRunsError):
        return ApiError(409, str(fault))
    return api_error(fault)


class Refusals:
    """Records attempts that were refused before they reached the work of a route."""

    def __init__(self) -> None:
        self._minute = 0
        self._recorded: Counter[int] = Counter()  # by token: one caller's flood hides nobody else

    async def record(self, serving: Services, request: Request, error: ApiError) -> None:
        """Count and log a refused attempt, and record it when its caller is known."""
        admin = request.url.path.startswith("/admin/")
        action: str | None = getattr(request.state, "audit_action", None)
        if getattr(request.state, "audited", False) or not (admin or action):
            return
        if admin:
            serving.metrics.admin_refused.labels(str(error.status_code)).inc()
        action = action or f"{request.method} {request.url.path}"[:200]
        identity: Identity | None = getattr(request.state, "identity", None)
        log = logger("audit")
        if identity is None:
            log.info("admin.refused" if admin else "change.refused", action=action, status=error.status_code)
            return
        if not identity.role.covers(Role.SYSTEM_ADMIN) and not self._one_more(identity):
            return
        try:
            await Attempt(serving, request, identity, action).refused(error)
        except (StoreUnavailableError, StoreTimeoutError):
            log.warning("audit.save_failed", action=action, status=error.status_code)

    def _one_more(self, identity: Identity) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._recorded = minute, Counter()
        self._recorded[identity.token_id] += 1
        return self._recorded[identity.token_id] <= _MAX_REFUSALS_A_MINUTE
