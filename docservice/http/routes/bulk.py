"""The routes that delete documents and have failed ones retried: one at a time, by ids, or by a filter.

Many are a job: the request takes down which documents, and answers 202; the work is done beside the pages, in
small transactions. Every attempt is recorded in the audit before its work begins, and a job's end as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from docservice.domain.grid.component_body import from_filter_model
from docservice.http.audit import Attempt
from docservice.http.auth import require_module
from docservice.http.context import request_id
from docservice.http.deps import ExistingModule, Key, Operator, Serving, audited, require_operator
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import ApiError, documented
from docservice.http.idempotency import SavedProgress
from docservice.http.routes.documents import DocumentId
from docservice.postgres.bulk import Action, NewJob, TooManyDocumentsError, UnexpectedTotalError

_MAX_ID = 2**63 - 1
_MAX_IDS = 1_000

Id = Annotated[int, Field(ge=1, le=_MAX_ID, strict=True)]


class Selection(BaseModel):
    """Which documents: those of ``ids`` in the module, those that ``filterModel`` leaves, or all of them.

    ``filterModel`` is AG Grid's or MUI's, as for the grid. One that filters nothing is refused: say ``all``.
    With ``expected_total``, 409 and no change when another number of documents matches.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"ids": [1, 2]},
                {
                    "filterModel": {"state": {"filterType": "text", "type": "equals", "filter": "failed"}},
                    "expected_total": 12,
                },
            ]
        },
    )

    ids: Annotated[list[Id], Field(min_length=1, max_length=_MAX_IDS)] | None = None
    filterModel: dict[str, Any] | None = None  # noqa: N815 - the grids' own word
    all: Annotated[bool, Field(strict=True)] = False
    expected_total: Annotated[int, Field(ge=0, le=_MAX_ID, strict=True)] | None = None


class Deleted(BaseModel):
    """The document that was deleted, and how many documents that were with its attachments."""

    id: int
    deleted: int


class Retried(BaseModel):
    """The document that is to be processed again."""

    id: int
    state: Literal["received"]


class BulkBegun(BaseModel):
    """A job; ``status_url`` shows how far it is."""

    id: uuid.UUID
    module: str
    action: Literal["delete", "retry"]
    total: int
    status_url: str


class BulkJob(BaseModel):
    """A job on many documents.

    ``done`` of ``total`` are worked on. ``changed`` counts documents that were deleted, their attachments
    included, or that are processed again; those that were gone or not failed meanwhile are not in it.
    """

    id: uuid.UUID
    number: int
    module: str
    action: Literal["delete", "retry"]
    actor: str
    state: Literal["running", "done"]
    total: int
    done: int
    changed: int
    begun_at: datetime
    ended_at: datetime | None


router = APIRouter(tags=["documents"], dependencies=[Depends(require_operator)])
# What is said of an action comes first: it is known then when the caller's role is refused.
deletes = APIRouter(
    tags=["documents"], dependencies=[Depends(audited("documents.delete")), Depends(require_operator)]
)
retries = APIRouter(
    tags=["documents"], dependencies=[Depends(audited("documents.retry")), Depends(require_operator)]
)


def _text(action: str, asked: dict[str, Any]) -> str:
    return f"documents.{action} {orjson.dumps(asked, option=orjson.OPT_SORT_KEYS).decode()}"


class _Command:
    """One attempt at a change: recorded, and done once for each Idempotency-Key."""

    def __init__(self, request: Request, identity: Operator, serving: Serving, key: Key = None) -> None:
        self.request = request
        self.identity = identity
        self.serving = serving
        self._key = key

    async def run(
        self,
        action: Action,
        asked: dict[str, Any],
        work: Callable[[SavedProgress], Awaitable[JSON]],
        *,
        module: str | None,
    ) -> JSON:
        """The answer of the work. A repetition is one by what was asked, not by what is there meanwhile."""

        async def once() -> JSON:
            return await self.serving.idempotency.run(self.identity, self._key, _text(action, asked), work)

        attempt = Attempt(self.serving, self.request, self.identity, f"documents.{action}")
        return await attempt.run({**asked, "module": module}, once)

    async def module_of(self, document_id: int) -> str | None:
        """The module of a document that the caller may see; None when there is no such document.

        It may be gone because of the very request that is repeated.
        """
        found = await self.serving.documents.get(document_id)
        if found is None:
            return None
        require_module(self.identity, found["module"])
        return str(found["module"])

    async def bulk(self, action: Action, module: str, selection: Selection) -> JSON:
        """Begin a job."""
        query = from_filter_model(module, selection.filterModel)
        _check(selection, filtered=bool(query.filters))
        asked = {"module": module, **selection.model_dump(exclude_defaults=True)}

        async def work(progress: SavedProgress) -> JSON:
            job_id = uuid.UUID(progress.saved["job"]) if "job" in progress.saved else uuid.uuid4()
            await progress.save(job=str(job_id))
            client = self.request.client
            job = NewJob(
                id=job_id,
                module=module,
                action=action,
                token_id=self.identity.token_id,
                actor=self.identity.name,
                request_id=request_id(),
                remote_address=client.host if client else "unknown",
            )
            try:
                total = await self.serving.bulk.begin(job, query, selection.ids, selection.expected_total)
            except TooManyDocumentsError as fault:
                progress.saved = {}  # nothing was begun: the same request may be sent again
                raise ApiError(422, str(fault)) from fault
            except UnexpectedTotalError as fault:
                progress.saved = {}
                raise ApiError(
                    409, str(fault), code="unexpected_total", data={"total": fault.total}
                ) from fault
            self.serving.bulk_runner.job_begun()
            url = f"/modules/{module}/bulk-jobs/{job_id}"
            begun = {"id": str(job_id), "module": module, "action": action, "total": total}
            return answer({**begun, "status_url": url}, status=202)

        return await self.run(action, asked, work, module=module)


Command = Annotated[_Command, Depends()]


def _check(selection: Selection, *, filtered: bool) -> None:
    """Refuse what does not say clearly which documents are meant."""
    if (selection.ids is not None) + (selection.filterModel is not None) + selection.all != 1:
        raise ApiError(422, "one of ids, filterModel and all is needed")
    if selection.filterModel is not None and not filtered:
        raise ApiError(422, 'filterModel: it filters nothing; send {"all": true} for all documents')


@deletes.delete(
    "/documents/{document_id}",
    response_model=APIResponse[Deleted],
    responses=documented(404, 409),
    summary="Delete a document and its attachments",
    operation_id="delete_document",
)
async def delete(document_id: DocumentId, command: Command) -> JSON:
    """With its text and its file. The file is removed from the store a moment later."""
    serving = command.serving
    module = await command.module_of(document_id)

    async def work(_progress: SavedProgress) -> JSON:
        deleted = 0 if module is None else await serving.bulk.delete(document_id, module)
        if module is None or not deleted:
            raise ApiError(404, f"there is no document {document_id}")
        await serving.cache.raise_version(module)
        serving.bulk_runner.files_left()
        return answer({"id": document_id, "deleted": deleted})

    return await command.run("delete", {"ids": [document_id]}, work, module=module)


@retries.post(
    "/documents/{document_id}/retry",
    status_code=202,
    response_model=APIResponse[Retried],
    responses=documented(404, 409),
    summary="Have a failed document processed again",
    operation_id="retry_document",
)
async def retry(document_id: DocumentId, command: Command) -> JSON:
    """As after its upload, with all attempts. 409 when it has not failed."""
    serving = command.serving
    module = await command.module_of(document_id)

    async def work(_progress: SavedProgress) -> JSON:
        if module is None:
            raise ApiError(404, f"there is no document {document_id}")
        if not await serving.bulk.retry(document_id, module):
            raise ApiError(409, f"document {document_id} has not failed", code="not_failed")
        await serving.cache.raise_version(module)
        serving.enqueuer.put([document_id])
        return answer({"id": document_id, "state": "received"}, status=202)

    return await command.run("retry", {"ids": [document_id]}, work, module=module)


@deletes.post(
    "/modules/{module}/documents/delete",
    status_code=202,
    response_model=APIResponse[BulkBegun],
    responses=documented(400, 404, 408, 409, 413),
    summary="Delete many documents",
    operation_id="delete_documents",
)
async def delete_many(module: ExistingModule, selection: Selection, command: Command) -> JSON:
    """Those that match now, each with its attachments, its text and its file. In the background."""
    return await command.bulk("delete", module, selection)


@retries.post(
    "/modules/{module}/documents/retry",
    status_code=202,
    response_model=APIResponse[BulkBegun],
    responses=documented(400, 404, 408, 409, 413),
    summary="Have many failed documents processed again",
    operation_id="retry_documents",
)
async def retry_many(module: ExistingModule, selection: Selection, command: Command) -> JSON:
    """Those that match now and have failed. In the background."""
    return await command.bulk("retry", module, selection)


@router.get(
    "/modules/{module}/bulk-jobs",
    response_model=APIResponse[list[BulkJob]],
    responses=documented(404),
    summary="Jobs on many documents of a module",
    operation_id="list_bulk_jobs",
)
async def jobs(
    module: ExistingModule,
    serving: Serving,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=_MAX_ID)] = None,
) -> JSON:
    """The latest first; `before` is the number of the last one seen."""
    found = await serving.bulk.jobs(module, before=before, limit=limit)
    last = found[-1]["number"] if len(found) == limit else None
    return answer(found, meta={"limit": limit, "next_before": last})


@router.get(
    "/modules/{module}/bulk-jobs/{job_id}",
    response_model=APIResponse[BulkJob],
    responses=documented(404),
    summary="Progress of a job on many documents",
    operation_id="get_bulk_job",
)
async def job(module: ExistingModule, job_id: Annotated[uuid.UUID, Path()], serving: Serving) -> JSON:
    """How many documents are done, and how many were changed."""
    found = await serving.bulk.job(job_id)
    if found is None or found["module"] != module:
        raise ApiError(404, f"the module {module} has no job {job_id}")
    return answer(found)
