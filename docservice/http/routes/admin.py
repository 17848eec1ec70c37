"""The workers in administrators' hands: inspect, autoscale, grow, shrink, drain and shut down; and the audit.

Only for ``system_admin``, its role read from Postgres at each request. Commands take a header
``Idempotency-Key``: the same key with the same body gets the first answer again, and nothing happens twice.
Every attempt is kept in the audit, refused ones too.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request

from autoscaler.api import OverrideError, OverrideRequest, WorkerReading
from docservice.domain.identity import Identity
from docservice.http.audit import Attempt
from docservice.http.deps import Serving, SystemAdmin, require_system_admin
from docservice.http.drains import Drainer
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import ApiError, documented
from docservice.http.routes.admin_models import (
    AuditEntry,
    AutoscaleBody,
    DrainBegun,
    DrainBody,
    DrainRequest,
    Key,
    OverrideBody,
    OverrideChange,
    ResizeRequest,
    WorkerOutcome,
    WorkerPool,
)
from docservice.http.services import Services
from docservice.workers import Outcome, Resized

_BIGGEST_ID = 2**63 - 1

router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(require_system_admin)])


async def _once(
    serving: Services, identity: Identity, key: str | None, asked: str, work: Callable[[], Awaitable[JSON]]
) -> JSON:
    """Do the work, or give the answer that it had under this key."""
    if key is None:
        return await work()
    store = serving.administration
    known = await store.begin_command(token_id=identity.token_id, key=key, request=asked)
    if known is not None:
        if known["request"] not in ("", asked):
            raise ApiError(422, "this Idempotency-Key was used for another command; draw a new one")
        if known["status"] is None:
            raise ApiError(
                409, "the command with this Idempotency-Key is under way, or was broken off; inspect"
            )
        return _again(known)
    try:
        done = await work()
    except ApiError as error:
        if error.status_code == 504:  # noqa: PLR2004 - it may have happened: never again under this key
            body = {"detail": error.detail, "code": error.code, "data": error.data}
            await store.end_command(token_id=identity.token_id, key=key, status=504, answer=body)
        else:
            await store.forget_command(token_id=identity.token_id, key=key)
        raise
    body = orjson.loads(done.body)
    await store.end_command(token_id=identity.token_id, key=key, status=done.status_code, answer=body["data"])
    return done


def _again(known: dict[str, Any]) -> JSON:
    if known["status"] == 504:  # noqa: PLR2004 - as above
        raise ApiError(
            504, known["answer"]["detail"], code=known["answer"]["code"], data=known["answer"]["data"]
        )
    return answer(known["answer"], status=known["status"], message="repeated: this is the first answer")


@router.get(
    "/celery/inspect",
    response_model=APIResponse[list[WorkerPool]],
    responses=documented(504),
    summary="What the workers say of themselves",
)
async def inspect(request: Request, identity: SystemAdmin, serving: Serving) -> JSON:
    """Sizes and counts; no task, no argument and no address. 504 when no worker answers."""

    async def work() -> JSON:
        workers = await serving.control.workers()
        if not any(workers.values()):
            raise ApiError(504, f"no worker answered; {len(workers)} have a mailbox", data=[])
        return answer([_pool(name, reading) for name, reading in workers.items()])

    return await Attempt(serving, request, identity, "inspect").run({}, work)


def _pool(name: str, reading: WorkerReading | None) -> dict[str, Any]:
    if reading is None:
        return {"worker": name, "answered": False}
    return {
        "worker": name,
        "answered": True,
        "size": reading.processes,
        "busy": reading.busy,
        "reserved": reading.reserved,
        "kind": reading.pool,
        "companion": reading.companion,
        "autoscale": reading.autoscale,
        "refusal": reading.unsupported or reading.companion_refusal,
        "queues": reading.queues,
        "uptime_seconds": reading.uptime_seconds,
    }


def _override_body(request: OverrideRequest) -> dict[str, Any]:
    return {
        "paused": request.paused,
        "min": request.min_processes,
        "max": request.max_processes,
        "hold_until": {
            name: datetime.fromtimestamp(until, UTC) for name, until in request.hold_until.items()
        },
        "expires_at": None if request.expires_at is None else datetime.fromtimestamp(request.expires_at, UTC),
        "by": request.by,
        "why": request.why,
    }


@router.get(
    "/celery/autoscale",
    response_model=APIResponse[AutoscaleBody],
    responses=documented(),
    summary="What the autoscaler does, and what is asked of it",
)
async def autoscale(request: Request, identity: SystemAdmin, serving: Serving) -> JSON:
    """The status of its last tick, null when none of its name reported lately."""

    async def work() -> JSON:
        status = await serving.control.status()
        return answer({"status": status, "override": _override_body(await serving.control.override())})

    return await Attempt(serving, request, identity, "autoscale.read").run({}, work)


@router.post(
    "/celery/autoscale",
    response_model=APIResponse[OverrideBody],
    responses=documented(400, 408, 409, 413),
    summary="Pause or resume the autoscaler, or bound it",
)
async def set_autoscale(
    request: Request, change: OverrideChange, identity: SystemAdmin, serving: Serving, key: Key = None
) -> JSON:
    """Until it expires; the autoscaler keeps to it from its next tick."""
    asked = change.model_dump(exclude_unset=True)

    def changed(before: OverrideRequest) -> OverrideRequest:
        least = asked.get("min", before.min_processes)
        most = asked.get("max", before.max_processes)
        if least is not None and most is not None and least > most:
            raise OverrideError(f"override: min is {least} and max is {most}; min must not be above max")
        return replace(
            before,
            paused=bool(asked.get("paused", before.paused)),
            min_processes=least,
            max_processes=most,
            expires_at=time.time() + change.expires_in_seconds,
            by=identity.name,
            why=change.why,
        )

    async def work() -> JSON:
        if not set(asked) & {"paused", "min", "max"}:
            raise ApiError(422, "one of paused, min and max is needed")
        return answer(_override_body(await serving.control.set_override(changed)))

    async def once() -> JSON:
        return await _once(serving, identity, key, _text("autoscale", asked), work)

    return await Attempt(serving, request, identity, "autoscale").run(asked, once)


def _text(action: str, asked: dict[str, Any]) -> str:
    return f"{action} {orjson.dumps(asked, option=orjson.OPT_SORT_KEYS).decode()}"


@router.post(
    "/celery/grow",
    response_model=APIResponse[list[WorkerOutcome]],
    responses=documented(400, 404, 408, 409, 413, 504),
    summary="Give workers more processes",
)
async def grow(
    request: Request, asked: ResizeRequest, identity: SystemAdmin, serving: Serving, key: Key = None
) -> JSON:
    """One absolute resize where the companion is loaded; the autoscaler is held off for a while."""
    return await _resize(request, asked, identity, serving, key, sign=1)


@router.post(
    "/celery/shrink",
    response_model=APIResponse[list[WorkerOutcome]],
    responses=documented(400, 404, 408, 409, 413, 504),
    summary="Take processes from workers",
)
async def shrink(
    request: Request, asked: ResizeRequest, identity: SystemAdmin, serving: Serving, key: Key = None
) -> JSON:
    """Loses no task: without the companion, only an idle worker shrinks."""
    return await _resize(request, asked, identity, serving, key, sign=-1)


async def _resize(
    request: Request,
    asked: ResizeRequest,
    identity: Identity,
    serving: Services,
    key: str | None,
    *,
    sign: int,
) -> JSON:
    action = "grow" if sign > 0 else "shrink"
    attempt = Attempt(serving, request, identity, action)

    async def work() -> JSON:
        outcomes: dict[str, Resized] = {}
        for name in dict.fromkeys(asked.workers):
            outcomes[name] = await serving.control.resize(
                name, sign * asked.processes, hold_seconds=asked.hold_seconds
            )
        attempt.before = {name: one.before for name, one in outcomes.items() if one.before is not None}
        attempt.after = {name: one.after for name, one in outcomes.items() if one.after is not None}
        return _resized(outcomes)

    async def once() -> JSON:
        return await _once(serving, identity, key, _text(action, asked.model_dump()), work)

    return await attempt.run(asked.model_dump(), once)


def _resized(outcomes: dict[str, Resized]) -> JSON:
    """200 when all were resized; else the gravest of what came of them, with the outcome of each."""
    data = [{"worker": name, **asdict(one)} for name, one in outcomes.items()]
    for outcome, status in (
        (Outcome.NO_ANSWER, 504),
        (Outcome.UNKNOWN_WORKER, 404),
        (Outcome.BUSY, 409),
        (Outcome.REFUSED, 409),
    ):
        those = {name: one for name, one in outcomes.items() if one.outcome is outcome}
        if those:
            detail = "; ".join(f"{name}: {one.detail}" for name, one in those.items())
            raise ApiError(status, detail, code=outcome, data=data)
    return answer(data)


@router.post(
    "/celery/drain_shutdown",
    status_code=202,
    response_model=APIResponse[DrainBegun],
    responses=documented(400, 404, 408, 409, 413, 504),
    summary="End workers without losing a task",
)
async def drain_shutdown(
    request: Request, asked: DrainRequest, identity: SystemAdmin, serving: Serving, key: Key = None
) -> JSON:
    """In the background: no new tasks, wait for what runs, end. What is not idle by the deadline goes on."""
    names = list(dict.fromkeys(asked.workers))

    async def work() -> JSON:
        drainer = Drainer(serving.control, serving.administration)
        await drainer.check(names, force=asked.force)
        drain_id = await drainer.begin(names, seconds=asked.deadline_seconds)
        serving.go(drainer.run(drain_id, names, seconds=asked.deadline_seconds, force=asked.force))
        url = f"/admin/celery/drain_shutdown/{drain_id}"
        return answer({"id": drain_id, "workers": names, "status_url": url}, status=202)

    async def once() -> JSON:
        return await _once(serving, identity, key, _text("drain_shutdown", asked.model_dump()), work)

    return await Attempt(serving, request, identity, "drain_shutdown").run(asked.model_dump(), once)


@router.get(
    "/celery/drain_shutdown/{drain_id}",
    response_model=APIResponse[DrainBody],
    responses=documented(404),
    summary="How far a drain has come",
)
async def drain(drain_id: Annotated[uuid.UUID, Path()], serving: Serving) -> JSON:
    """By worker: what it does and what is left."""
    found = await serving.administration.drain(drain_id)
    if found is None:
        raise ApiError(404, f"there is no drain {drain_id}")
    return answer({name: value for name, value in found.items() if name != "heartbeat_at"})


@router.get(
    "/audit",
    response_model=APIResponse[list[AuditEntry]],
    responses=documented(),
    summary="Who did what to the workers",
)
async def audit(
    serving: Serving,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=_BIGGEST_ID)] = None,
) -> JSON:
    """The latest first; `before` is the id of the last one seen."""
    found = await serving.administration.records(before=before, limit=limit)
    last = found[-1]["id"] if len(found) == limit else None
    return answer(found, meta={"limit": limit, "next_before": last})
