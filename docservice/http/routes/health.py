"""The health routes: liveness, readiness and metrics. Open to all: they show no secret and no name."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from docservice.http.deps import Serving
from docservice.http.envelope import JSON, APIResponse, answer, failure_body
from docservice.postgres.database import StoreRefusedError, StoreTimeoutError, StoreUnavailableError
from docservice.postgres.migrations import migrations, pending
from docservice.postgres.rights import refusal

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """What works. `degraded`: without Redis the cache is bypassed; a failing task delays documents.

    Without the store of files none is uploaded, processed or downloaded, and grids are answered.
    `files_stuck`: so many calls to it hang that every other one fails at once. Where that stays although its
    server runs, restart the process.
    `background` has the names of background tasks of this process that keep failing.
    """

    status: Literal["ready", "degraded", "unready"]
    postgres: Literal["up", "down"]
    redis: Literal["up", "down"]
    files: Literal["up", "down"]
    files_stuck: bool
    migrations: Literal["applied", "pending", "unknown"]
    background: list[str]


@router.get("/livez", response_model=APIResponse[Alive], summary="Liveness", operation_id="livez")
async def livez() -> JSON:
    """Does not depend on Postgres or Redis: a restart would repair neither."""
    return answer({"status": "alive"})


@router.get(
    "/readyz",
    response_model=APIResponse[Readiness],
    responses={503: {"model": APIResponse[Readiness], "description": "Postgres or migrations are missing"}},
    summary="Readiness",
    operation_id="readyz",
)
async def readyz(serving: Serving) -> JSON:
    """503 without Postgres; 200 and `degraded` without Redis, the store of files or a background task."""
    redis, (migrations, fault) = await asyncio.gather(serving.cache.ping(), _migrations(serving))
    ready = migrations == "applied"
    failing = serving.background.failing()
    files = serving.store_watch.up
    well = redis and files and not failing
    found = {
        "status": ("ready" if well else "degraded") if ready else "unready",
        "postgres": "up" if fault is None or isinstance(fault, StoreRefusedError) else "down",
        "redis": "up" if redis else "down",
        "files": "up" if files else "down",
        "files_stuck": serving.store_watch.stuck,
        "migrations": migrations,
        "background": failing,
    }
    if ready:
        return answer(found)
    if fault is None:
        detail = "the schema is older than this program; run docservice migrate"
    else:
        detail = str(fault) if isinstance(fault, StoreRefusedError) else "Postgres does not answer"
    return JSON(failure_body("unready", detail, found), status_code=503, headers={"Retry-After": "2"})


async def _migrations(serving: Serving) -> tuple[str, Exception | None]:
    """Whether they are applied, and why that is not known."""
    try:
        missing = await pending(serving.database)
        # Tables of a schema that this user may not use look like none.
        why = await refusal(serving.database) if len(missing) == len(migrations()) else None
    except (StoreUnavailableError, StoreTimeoutError) as fault:
        return "unknown", fault
    if why:
        return "unknown", StoreRefusedError(f"Postgres refuses this user: {why}")
    return ("pending" if missing else "applied"), None


@router.get("/metrics", response_class=Response, summary="Metrics for Prometheus", operation_id="metrics")
async def metrics(serving: Serving) -> Response:
    """The text format."""
    serving.requests.flush()
    return Response(serving.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
