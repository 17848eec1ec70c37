"""Documents: uploaded in lots, followed by id."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from docservice.http.auth import require_module
from docservice.http.deps import Module, Serving, Viewer, require_operator, require_viewer
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import ApiError, documented
from docservice.http.uploads import UploadLimits, UploadReader

_MOST_ASKED = 500
_BIGGEST_ID = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=_BIGGEST_ID)]
DocumentId = Annotated[int, Path(ge=1, le=_BIGGEST_ID)]


class Accepted(BaseModel):
    """One document that was taken."""

    id: int
    file_name: str
    document_type: str
    size_bytes: int
    sha256: str
    status_url: str


class AcceptedLot(BaseModel):
    """All that were taken; ``status_url`` tells of them together."""

    documents: list[Accepted]
    status_url: str


class DocumentState(BaseModel):
    """How far a document has come."""

    id: int
    module: str
    state: str
    failure: str | None


class DocumentDetail(DocumentState):
    """All that is known of a document."""

    document_type: str
    mail_number: str | None
    title: str
    sender: str | None
    to_addresses: str | None
    cc_addresses: str | None
    message_id: str | None
    sent_at: datetime | None
    file_name: str
    content_type: str
    size_bytes: int
    pages: int | None
    parent_id: int | None
    received_at: datetime
    processed_at: datetime | None
    sha256: str
    attempts: int
    findings: list[str]


class DocumentText(BaseModel):
    """The text found in a document; null as long as there is none."""

    id: int
    text: str | None


uploads = APIRouter(tags=["documents"], dependencies=[Depends(require_operator)])
router = APIRouter(tags=["documents"], dependencies=[Depends(require_viewer)])

_MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "mail_number": {"type": "string", "maxLength": 200},
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}


@uploads.post(
    "/modules/{module}/documents",
    status_code=202,
    response_model=APIResponse[AcceptedLot],
    responses=documented(400, 408, 413, 415),
    summary="Upload one or more files",
    openapi_extra=_MULTIPART,
)
async def upload(request: Request, module: Module, serving: Serving) -> JSON:
    """Store files of any kind; workers read mails, PDFs and texts. All of them are taken or none."""
    limits = UploadLimits(files=serving.settings.upload_files, file_bytes=serving.settings.upload_file_bytes)
    reader = UploadReader(
        module=module,
        content_type=request.headers.get("content-type", ""),
        blobs=serving.blobs,
        limits=limits,
    )
    try:
        documents = await reader.read(request.stream())
    except BaseException:
        serving.metrics.uploads.labels("refused").inc()
        await reader.abandon()
        raise
    # When this fails it may have been committed all the same, so the bytes stay; the sweeper finds orphans.
    ids = await serving.documents.add(documents)
    # Committed. From here on the answer is 202, whatever Redis does.
    await serving.cache.raise_version(module)
    serving.enqueuer.put(ids)
    serving.metrics.uploads.labels("accepted").inc(len(ids))
    accepted = [
        {
            "id": document_id,
            "file_name": item.file_name,
            "document_type": item.document_type,
            "size_bytes": item.size_bytes,
            "sha256": item.sha256,
            "status_url": f"/documents/{document_id}",
        }
        for document_id, item in zip(ids, documents, strict=True)
    ]
    lot = "&".join(f"id={document_id}" for document_id in ids)
    return answer({"documents": accepted, "status_url": f"/documents?{lot}"}, status=202)


@router.get(
    "/documents",
    response_model=APIResponse[list[DocumentState]],
    responses=documented(),
    summary="How far several documents have come",
)
async def states(
    identity: Viewer,
    serving: Serving,
    ids: Annotated[
        list[Annotated[int, Query(ge=1, le=_BIGGEST_ID)]], Query(alias="id", max_length=_MOST_ASKED)
    ],
) -> JSON:
    """The states of those of the ids that there are and that the token may see."""
    found = await serving.documents.states(ids)
    return answer([item for item in found if identity.may_see(item["module"])])


async def _seen(document_id: int, identity: Viewer, serving: Serving) -> dict[str, Any]:
    found = await serving.documents.get(document_id)
    if found is None:
        raise ApiError(404, f"there is no document {document_id}")
    require_module(identity, found["module"])
    return found


@router.get(
    "/documents/{document_id}",
    response_model=APIResponse[DocumentDetail],
    responses=documented(404),
    summary="One document",
)
async def detail(document_id: DocumentId, identity: Viewer, serving: Serving) -> JSON:
    """All that is known of a document, with the reason when it failed."""
    found = await _seen(document_id, identity, serving)
    return answer({name: value for name, value in found.items() if name != "blob_key"})


@router.get(
    "/documents/{document_id}/text",
    response_model=APIResponse[DocumentText],
    responses=documented(404),
    summary="The text of a document",
)
async def text(document_id: DocumentId, identity: Viewer, serving: Serving) -> JSON:
    """The text that was found in a mail, a PDF or a text."""
    await _seen(document_id, identity, serving)
    return answer({"id": document_id, "text": await serving.documents.text(document_id)})
