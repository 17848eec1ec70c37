"""The admin routes: inspect, autoscale, grow, shrink, drain and shut down workers; and the audit.

Only for ``system_admin``, whose role is read from Postgres on each request. Commands take a header
``Idempotency-Key``: the same key with the same body gets the first answer, and nothing happens twice. Every
attempt is recorded in the audit before its work begins.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request

from autoscaler.api import NEVER, OverrideRequest, WorkerReading, override_changes
from docservice.http.audit import Attempt
from docservice.http.deps import Key, Serving, SystemAdmin, require_system_admin
from docservice.http.drains import Drainer
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import ApiError, documented
from docservice.http.idempotency import SavedProgress
from docservice.http.routes.admin_models import (
    AuditFilters,
    AutoscaleBody,
    DrainBegun,
    DrainBody,
    DrainCommand,
    OverrideBody,
    OverrideChange,
    ResizeCommand,
    WorkerPool,
)
from docservice.http.services import Services
from docservice.postgres.administration import AuditEntry, DrainRunsError
from docservice.workers import ResizePlan, ResizeResult, StoredOverrideError, WorkerResize

router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(require_system_admin)])


@router.get(
    "/celery/inspect",
    response_model=APIResponse[list[WorkerPool]],
    responses=documented(504),
    summary="Size and load of each worker",
    operation_id="inspect_workers",
)
async def inspect(request: Request, identity: SystemAdmin, serving: Serving) -> JSON:
    """Sizes and counts; no task names, arguments or addresses. 504 when no worker answers."""

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


def _changed(before: OverrideRequest, asked: dict[str, Any], *, by: str, until: float) -> OverrideRequest:
    """The override with what is asked for changed, and the rest with the expiry it had."""
    why = asked.get("why")
    if "paused" in asked:
        before = (
            override_changes.pause(until, by, why)(before)
            if asked["paused"]
            else override_changes.resume(before)
        )
    bounds = {f"{name}_processes": asked[name] for name in ("min", "max") if name in asked}
    if bounds:
        before = override_changes.limit(bounds, until, by, why)(before)
    if asked.get("release"):
        before = override_changes.release(asked["release"])(before)
    if asked.get("hold"):
        before = override_changes.hold(asked["hold"], until, by, why)(before)
    return before


def _override_body(request: OverrideRequest) -> dict[str, Any]:
    limits_end = request.limits_end if request.has_limits else None
    return {
        "paused": request.paused,
        "min": request.min_processes,
        "max": request.max_processes,
        "hold_until": {
            name: datetime.fromtimestamp(until, UTC) for name, until in request.hold_until.items()
        },
        "expires_at": _moment(request.expires_at if request.paused else limits_end),
        "limits_expires_at": _moment(limits_end),
        "by": request.by,
        "why": request.why,
    }


def _moment(at: float | None) -> datetime | None:
    return None if at is None or at >= NEVER else datetime.fromtimestamp(at, UTC)


@router.get(
    "/celery/autoscale",
    response_model=APIResponse[AutoscaleBody],
    responses=documented(),
    summary="Status and override of the autoscaler",
    operation_id="get_autoscale",
)
async def autoscale(request: Request, identity: SystemAdmin, serving: Serving) -> JSON:
    """The status of its last tick, null when no autoscaler of that name reported lately, and the override.

    Where the stored override is invalid, `override_fault` says why and what to do.
    """

    async def work() -> JSON:
        status = await serving.control.status()
        override, fault = OverrideRequest(), None
        try:
            override = await serving.control.override()
        except StoredOverrideError as invalid:
            fault = str(invalid)
        return answer({"status": status, "override": _override_body(override), "override_fault": fault})

    return await Attempt(serving, request, identity, "autoscale.read").run({}, work)


@router.post(
    "/celery/autoscale",
    response_model=APIResponse[OverrideBody],
    responses=documented(400, 408, 409, 413),
    summary="Pause, resume or limit the autoscaler",
    operation_id="set_autoscale",
)
async def set_autoscale(
    request: Request, change: OverrideChange, identity: SystemAdmin, serving: Serving, key: Key = None
) -> JSON:
    """Valid until it expires; the autoscaler obeys it from its next tick. A pause and limits expire apart.

    409 with `invalid_override` when what is stored is invalid; it may be a pause, so it is not overwritten.
    """
    asked = change.model_dump(exclude_unset=True)

    def changed(before: OverrideRequest) -> OverrideRequest:
        return _changed(before, asked, by=identity.name, until=time.time() + change.expires_in_seconds)

    async def work(_progress: SavedProgress) -> JSON:  # setting it twice sets the same
        if not set(asked) & {"paused", "min", "max", "hold", "release"}:
            raise ApiError(422, "one of paused, min, max, hold and release is needed")
        return answer(_override_body(await serving.control.set_override(changed)))

    async def once() -> JSON:
        return await serving.idempotency.run(identity, key, _text("autoscale", asked), work)

    return await Attempt(serving, request, identity, "autoscale").run(asked, once)


def _text(action: str, asked: dict[str, Any]) -> str:
    return f"{action} {orjson.dumps(asked, option=orjson.OPT_SORT_KEYS).decode()}"


class _Resizing:
    """One command to grow or shrink workers, one after the other."""

    def __init__(self, serving: Services, command: ResizeCommand, *, sign: int) -> None:
        self._control = serving.control
        self._change = sign * command.processes
        self._workers = list(dict.fromkeys(command.workers))
        self._hold_seconds = command.hold_seconds

    async def run(self, progress: SavedProgress) -> list[WorkerResize]:
        """The outcome for each worker; those that an earlier attempt has finished are not sent again."""
        outcomes = []
        for name in self._workers:
            done = progress.saved.get(f"done:{name}")
            if done is not None:
                outcomes.append(WorkerResize(**{**done, "outcome": ResizeResult(done["outcome"])}))
                continue
            outcome = await self._one(name, progress)
            if f"plan:{name}" in progress.saved:
                await progress.save(**{f"done:{name}": asdict(outcome)})
            outcomes.append(outcome)
        return outcomes

    async def _one(self, name: str, progress: SavedProgress) -> WorkerResize:
        planned = progress.saved.get(f"plan:{name}")
        if planned is not None:
            return await self._control.resume(name, ResizePlan(**planned), hold_seconds=self._hold_seconds)
        loop = asyncio.get_running_loop()

        def save(plan: ResizePlan) -> None:
            saving = progress.save(**{f"plan:{name}": asdict(plan)})
            asyncio.run_coroutine_threadsafe(saving, loop).result()

        return await self._control.resize(
            name, self._change, hold_seconds=self._hold_seconds, before_sending=save
        )


def _add_resize_route(action: str, sign: int, summary: str, about: str) -> None:
    async def resize(
        request: Request, command: ResizeCommand, identity: SystemAdmin, serving: Serving, key: Key = None
    ) -> JSON:
        attempt = Attempt(serving, request, identity, action)
        resizing = _Resizing(serving, command, sign=sign)

        async def work(progress: SavedProgress) -> JSON:
            outcomes = await resizing.run(progress)
            attempt.before = {one.worker: one.before for one in outcomes if one.before is not None}
            attempt.after = {one.worker: one.after for one in outcomes if one.after is not None}
            return _resize_answer(outcomes)

        async def once() -> JSON:
            return await serving.idempotency.run(identity, key, _text(action, command.model_dump()), work)

        return await attempt.run(command.model_dump(), once)

    router.add_api_route(
        f"/celery/{action}",
        resize,
        methods=["POST"],
        name=action,
        operation_id=f"{action}_workers",
        response_model=APIResponse[list[WorkerResize]],
        responses=documented(400, 404, 408, 409, 413, 504),
        summary=summary,
        description=about,
    )


_add_resize_route(
    "grow",
    1,
    "Add processes to workers",
    "One absolute resize where the companion is loaded; the autoscaler is held off for a while.",
)
_add_resize_route(
    "shrink",
    -1,
    "Remove processes from workers",
    "Loses no task: without the companion, only an idle worker shrinks.",
)


def _resize_answer(outcomes: list[WorkerResize]) -> JSON:
    """200 when all were resized; else the most serious result, with the outcome of each worker."""
    data = [asdict(one) for one in outcomes]
    for result, status in (
        (ResizeResult.NO_ANSWER, 504),
        (ResizeResult.UNKNOWN_WORKER, 404),
        (ResizeResult.BUSY, 409),
        (ResizeResult.REFUSED, 409),
    ):
        those = [one for one in outcomes if one.outcome is result]
        if those:
            detail = "; ".join(f"{one.worker}: {one.detail}" for one in those)
            raise ApiError(status, detail, code=result, data=data)
    return answer(data)


@router.post(
    "/celery/drain_shutdown",
    status_code=202,
    response_model=APIResponse[DrainBegun],
    responses=documented(400, 404, 408, 409, 413, 504),
    summary="End workers without losing a task",
    operation_id="drain_workers",
)
async def drain_shutdown(
    request: Request, command: DrainCommand, identity: SystemAdmin, serving: Serving, key: Key = None
) -> JSON:
    """In the background: no new tasks, wait for running ones, end. Busy at the deadline, a worker goes on."""
    names = list(dict.fromkeys(command.workers))

    async def work(progress: SavedProgress) -> JSON:
        begun = progress.saved.get("drain")
        drain_id = uuid.uuid4() if begun is None else uuid.UUID(begun)
        # One that an earlier attempt has begun is not begun again, whatever became of it.
        if begun is None or await serving.administration.drain(drain_id) is None:
            drainer = Drainer(serving.control, serving.administration, drain_id, names)
            await drainer.check(force=command.force)
            await progress.save(drain=str(drain_id))
            try:
                await drainer.begin(seconds=command.deadline_seconds)
            except DrainRunsError:
                progress.saved = {}  # nothing was begun: the same request may be sent again
                raise
            running = drainer.run(seconds=command.deadline_seconds, force=command.force)
            serving.background.once("drain", running)
        url = f"/admin/celery/drain_shutdown/{drain_id}"
        return answer({"id": str(drain_id), "workers": names, "status_url": url}, status=202)

    async def once() -> JSON:
        text = _text("drain_shutdown", command.model_dump())
        return await serving.idempotency.run(identity, key, text, work)

    return await Attempt(serving, request, identity, "drain_shutdown").run(command.model_dump(), once)


@router.get(
    "/celery/drain_shutdown/{drain_id}",
    response_model=APIResponse[DrainBody],
    responses=documented(404),
    summary="Progress of a drain",
    operation_id="get_drain",
)
async def drain(drain_id: Annotated[uuid.UUID, Path()], serving: Serving) -> JSON:
    """For each worker: its phase and the tasks that are left."""
    found = await serving.administration.drain(drain_id)
    if found is None:
        raise ApiError(404, f"there is no drain {drain_id}")
    return answer({name: value for name, value in found.items() if name != "heartbeat_at"})


@router.get(
    "/audit",
    response_model=APIResponse[list[AuditEntry]],
    responses=documented(),
    summary="Who did what to workers and documents",
    operation_id="list_audit",
)
async def audit(serving: Serving, filters: Annotated[AuditFilters, Query()]) -> JSON:
    """The latest first; `before` is the id of the last one seen. Every filter given must hold, exactly."""
    found = await serving.administration.records(**filters.model_dump())
    last = found[-1].id if len(found) == filters.limit else None
    return answer([asdict(one) for one in found], meta={"limit": filters.limit, "next_before": last})
