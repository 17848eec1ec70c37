"""The document routes: uploads of several files, and the state of documents by id."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from docservice.domain.documents import NewDocument
from docservice.http.auth import require_module
from docservice.http.deps import Key, Module, Operator, Serving, Viewer, require_operator, require_viewer
from docservice.http.downloads import MEDIA_TYPE, Download
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import ApiError, documented
from docservice.http.idempotency import SavedProgress
from docservice.http.services import Services
from docservice.http.uploads import UploadLimits, UploadReader

_MAX_IDS = 500
_MAX_ID = 2**63 - 1
DocumentId = Annotated[int, Path(ge=1, le=_MAX_ID)]


class Accepted(BaseModel):
    """One document that was accepted."""

    id: int
    file_name: str
    document_type: str
    size_bytes: int
    sha256: str
    status_url: str


class AcceptedDocuments(BaseModel):
    """All accepted documents; ``status_url`` shows their states together."""

    documents: list[Accepted]
    status_url: str


class DocumentState(BaseModel):
    """The state of a document."""

    id: int
    module: str
    state: str
    failure: str | None


class DocumentDetail(DocumentState):
    """Everything about a document but its text."""

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
    """The text found in a document; null while there is none."""

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
    response_model=APIResponse[AcceptedDocuments],
    responses=documented(400, 408, 409, 413, 415),
    summary="Upload one or more files",
    operation_id="upload_documents",
    openapi_extra=_MULTIPART,
)
async def upload(
    request: Request, module: Module, identity: Operator, serving: Serving, key: Key = None
) -> JSON:
    """Store files of any kind; workers read mails, PDFs and texts. All of them are accepted or none.

    With an `Idempotency-Key`, the same files sent again get the first answer and are stored once.
    """
    limits = UploadLimits(files=serving.settings.upload_files, file_bytes=serving.settings.upload_file_bytes)
    content_type = request.headers.get("content-type", "")
    reader = UploadReader(module=module, content_type=content_type, blobs=serving.blobs, limits=limits)
    storing: _Storing | None = None
    try:
        documents = await reader.read(request.stream())
        # Again: a body may take days, and its token may have been revoked meanwhile.
        require_module(await require_operator(await require_viewer(request, serving, None)), module)
        storing = _Storing(serving, module, documents)
        return await serving.idempotency.run(identity, key, storing.request, storing.run)
    except BaseException:
        serving.metrics.uploads.labels("refused").inc()
        raise
    finally:
        # What may be committed keeps its files; `docservice sweep --orphans` finds those that are not.
        if storing is None or not storing.begun:
            await reader.abandon()


class _Storing:
    """Adds the documents of one upload, whose files are stored, to Postgres."""

    def __init__(self, serving: Services, module: str, documents: list[NewDocument]) -> None:
        self._serving = serving
        self._module = module
        self._documents = documents
        self.begun = False

    @property
    def request(self) -> str:
        """What distinguishes this upload from another: names and contents, in their order."""
        files = [[item.file_name, item.sha256, item.mail_number] for item in self._documents]
        digest = hashlib.sha256(orjson.dumps(files)).hexdigest()
        return f"upload {self._module} {digest}"

    async def run(self, progress: SavedProgress) -> JSON:
        """Add the documents, unless an earlier attempt with the same key has added them."""
        earlier: list[str] = progress.saved.get("blob_keys", [])
        ids = await self._serving.documents.ids_of_blobs(earlier) if earlier else []
        if len(ids) != len(self._documents):
            await progress.save(blob_keys=[item.blob_key for item in self._documents])
            self.begun = True
            traceparent = self._serving.traces.traceparent()
            ids = await self._serving.documents.add(self._documents, traceparent=traceparent)
        # Committed. From here on the answer is 202, whatever Redis does.
        await self._serving.cache.raise_version(self._module)
        self._serving.enqueuer.put(ids)
        self._serving.metrics.uploads.labels("accepted").inc(len(ids))
        return answer(_accepted(ids, self._documents), status=202)


def _accepted(ids: list[int], documents: list[NewDocument]) -> dict[str, Any]:
    shown = [
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
    query = "&".join(f"id={document_id}" for document_id in ids)
    return {"documents": shown, "status_url": f"/documents?{query}"}


@router.get(
    "/documents",
    response_model=APIResponse[list[DocumentState]],
    responses=documented(),
    summary="The states of several documents",
    operation_id="list_document_states",
)
async def states(
    identity: Viewer,
    serving: Serving,
    ids: Annotated[list[Annotated[int, Query(ge=1, le=_MAX_ID)]], Query(alias="id", max_length=_MAX_IDS)],
) -> JSON:
    """The states of those ids that exist and that the token may see."""
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
    operation_id="get_document",
)
async def detail(document_id: DocumentId, identity: Viewer, serving: Serving) -> JSON:
    """Everything about a document, with the reason when it failed."""
    found = await _seen(document_id, identity, serving)
    return answer({name: value for name, value in found.items() if name != "blob_key"})


@router.get(
    "/documents/{document_id}/content",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **documented(404),
    },
    summary="The file of a document, as it was uploaded",
    operation_id="download_document",
)
async def content(document_id: DocumentId, identity: Viewer, serving: Serving) -> Response:
    """To be saved: always as an attachment, and of no type that a browser shows."""
    found = await _seen(document_id, identity, serving)
    chunks = serving.blobs.chunks(found["blob_key"])
    return Download(chunks, name=found["file_name"], size_bytes=found["size_bytes"])


@router.get(
    "/documents/{document_id}/text",
    response_model=APIResponse[DocumentText],
    responses=documented(404),
    summary="The text of a document",
    operation_id="get_document_text",
)
async def text(document_id: DocumentId, identity: Viewer, serving: Serving) -> JSON:
    """The text that was found in a mail, a PDF or a text."""
    await _seen(document_id, identity, serving)
    return answer({"id": document_id, "text": await serving.documents.text(document_id)})
