"""Whether it lives, whether it can work, and what it counts. Open to all: no secret and no name is shown."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from docservice.http.deps import Serving
from docservice.http.envelope import JSON, APIResponse, answer, failure_body
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError
from docservice.postgres.migrations import pending

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """It answers."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """What answers. Without Redis the service is degraded, not unready: it bypasses the cache."""

    status: Literal["ready", "degraded", "unready"]
    postgres: Literal["up", "down"]
    redis: Literal["up", "down"]
    migrations: Literal["applied", "pending", "unknown"]


@router.get("/livez", response_model=APIResponse[Alive], summary="Whether it lives")
async def livez() -> JSON:
    """Says nothing of Postgres or Redis: a restart would mend neither."""
    return answer({"status": "alive"})


@router.get(
    "/readyz",
    response_model=APIResponse[Readiness],
    responses={503: {"model": APIResponse[Readiness], "description": "Postgres or migrations are missing"}},
    summary="Whether it can work",
)
async def readyz(serving: Serving) -> JSON:
    """503 without Postgres; 200 and `degraded` without Redis, since nothing is lost then."""
    redis, migrations = await asyncio.gather(serving.cache.ping(), _migrations(serving))
    ready = migrations == "applied"
    found = {
        "status": ("ready" if redis else "degraded") if ready else "unready",
        "postgres": "down" if migrations == "unknown" else "up",
        "redis": "up" if redis else "down",
        "migrations": migrations,
    }
    if ready:
        return answer(found)
    detail = (
        "Postgres does not answer"
        if migrations == "unknown"
        else "run docservice migrate: the schema is older"
    )
    return JSON(failure_body("unready", detail, found), status_code=503, headers={"Retry-After": "2"})


async def _migrations(serving: Serving) -> str:
    try:
        return "pending" if await pending(serving.database) else "applied"
    except (StoreUnavailableError, StoreTimeoutError):
        return "unknown"


@router.get("/metrics", response_class=Response, summary="What Prometheus is told")
async def metrics(serving: Serving) -> Response:
    """The text format."""
    serving.requests.flush()
    return Response(serving.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
