"""The routes of the caller and the modules: who the token is, and what it may see."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from docservice.domain.documents import module_name
from docservice.domain.identity import Role
from docservice.http.deps import Serving, Viewer, require_viewer
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import documented

router = APIRouter(tags=["modules"], dependencies=[Depends(require_viewer)])


class Caller(BaseModel):
    """The owner of the token; ``modules`` is null when it may see all of them."""

    name: str
    role: Role
    modules: list[str] | None
    expires_at: datetime | None


class ModuleEntry(BaseModel):
    """A module that was used at least once."""

    name: str
    created_at: datetime
    latest_received_at: datetime | None


@router.get(
    "/whoami",
    response_model=APIResponse[Caller],
    responses=documented(),
    summary="Who the token is, and what it may",
    operation_id="whoami",
)
async def whoami(identity: Viewer) -> JSON:
    """Its name, role, modules and expiry."""
    return answer(
        {
            "name": identity.name,
            "role": identity.role,
            "modules": None if identity.modules is None else sorted(identity.modules),
            "expires_at": identity.expires_at,
        }
    )


@router.get(
    "/modules",
    response_model=APIResponse[list[ModuleEntry]],
    responses=documented(),
    summary="The modules that the token may see",
    operation_id="list_modules",
)
async def modules(
    identity: Viewer,
    serving: Serving,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[str | None, Query(description="`next_after` of the page before.")] = None,
) -> JSON:
    """By name: those that have, or once had, a document or a column."""
    names = None if identity.modules is None else sorted(identity.modules)
    behind = None if after is None else module_name(after)
    found = await serving.modules.page(names=names, after=behind, limit=limit)
    last = found[-1]["name"] if len(found) == limit else None
    return answer(found, meta={"limit": limit, "next_after": last})
