"""The routes of columns: which ones there are, and which a module shows for a type of document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from docservice.domain.documents import DocumentType, module_name
from docservice.domain.grid.columns import COLUMNS, FILTERED
from docservice.domain.identity import Identity
from docservice.http.auth import require_module
from docservice.http.deps import ExistingModule, Operator, Serving, Viewer, require_operator, require_viewer
from docservice.http.envelope import JSON, APIResponse, answer
from docservice.http.errors import ApiError, documented
from docservice.postgres.document_type_columns import ColumnExistsError

_MAX_ID = 2**63 - 1
_MAX_POSITION = 10_000
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"),
]


class GridColumn(BaseModel):
    """A column of a grid; ``document_types`` are those that the module shows it for."""

    name: str
    kind: str
    label: str
    nullable: bool
    operations: list[str]
    document_types: list[str]


class DocumentTypeColumn(BaseModel):
    """A column that a module shows for a type of document."""

    id: int
    module: str
    document_type: str
    column: str
    label: str
    position: int
    created_at: datetime


class NewDocumentTypeColumn(BaseModel):
    """A column to show. ``module`` in any letter case; without a label, the column's own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "module": "mail",
                    "document_type": "email",
                    "column": "mail_number",
                    "label": "Number",
                    "position": 1,
                }
            ]
        },
    )

    module: str
    document_type: DocumentType
    column: str
    label: Label | None = None
    position: int = Field(default=0, ge=0, le=_MAX_POSITION, strict=True)  # true is not 1


class ColumnDocumentType(BaseModel):
    """A type of document that a module shows a column for."""

    module: str
    document_type: str
    label: str
    position: int


class Removed(BaseModel):
    """What was removed."""

    id: int


router = APIRouter(tags=["columns"], dependencies=[Depends(require_viewer)])
changes = APIRouter(tags=["columns"], dependencies=[Depends(require_operator)])


def _modules(identity: Identity) -> list[str] | None:
    return None if identity.modules is None else sorted(identity.modules)


def _column(name: str) -> str:
    if name not in COLUMNS:
        raise ApiError(422, f"column: there is no column {name[:80]!r}; there are {', '.join(COLUMNS)}")
    return name


@router.get(
    "/modules/{module}/columns",
    response_model=APIResponse[list[GridColumn]],
    responses=documented(404),
    summary="The columns of a module's grid",
    operation_id="list_grid_columns",
)
async def columns(module: ExistingModule, serving: Serving) -> JSON:
    """What can be shown, filtered and sorted, and how. `meta.filters` has what can only be filtered."""
    chosen = await serving.columns.find(module=module, document_type=None, modules=None)
    return answer(
        [
            {
                "name": column.name,
                "kind": column.kind,
                "label": column.label,
                "nullable": column.nullable,
                "operations": list(column.operations),
                "document_types": [row["document_type"] for row in chosen if row["column"] == column.name],
            }
            for column in COLUMNS.values()
        ],
        meta={
            "module": module,
            "filters": [
                {"name": column.name, "label": column.label, "operations": list(column.operations)}
                for column in FILTERED.values()
                if column.name not in COLUMNS
            ],
        },
    )


@router.get(
    "/document-type-columns",
    response_model=APIResponse[list[DocumentTypeColumn]],
    responses=documented(),
    summary="Columns by module and type of document",
    operation_id="list_document_type_columns",
)
async def find(
    identity: Viewer,
    serving: Serving,
    module: Annotated[str | None, Query(description="In any letter case.")] = None,
    document_type: DocumentType | None = None,
) -> JSON:
    """Those of a module, of a type, or of both, that the token may see."""
    name = None if module is None else module_name(module)
    if name is not None:
        require_module(identity, name)
    return answer(
        await serving.columns.find(module=name, document_type=document_type, modules=_modules(identity))
    )


@changes.post(
    "/document-type-columns",
    status_code=201,
    response_model=APIResponse[DocumentTypeColumn],
    responses=documented(400, 408, 409, 413),
    summary="Show a column for a type of document",
    operation_id="add_document_type_column",
)
async def add(new: NewDocumentTypeColumn, identity: Operator, serving: Serving) -> JSON:
    """Store one; 409 when the module shows it already."""
    module = module_name(new.module)
    require_module(identity, module)
    column = _column(new.column)
    try:
        stored = await serving.columns.add(
            module=module,
            document_type=new.document_type,
            column=column,
            label=new.label or COLUMNS[column].label,
            position=new.position,
        )
    except ColumnExistsError as fault:
        raise ApiError(409, str(fault)) from fault
    return answer(stored, status=201)


@changes.delete(
    "/document-type-columns/{column_id}",
    response_model=APIResponse[Removed],
    responses=documented(404),
    summary="Stop showing a column",
    operation_id="remove_document_type_column",
)
async def remove(
    column_id: Annotated[int, Path(ge=1, le=_MAX_ID)], identity: Operator, serving: Serving
) -> JSON:
    """Remove one by its id."""
    found = await serving.columns.get(column_id)
    if found is not None:
        require_module(identity, found["module"])
    if found is None or not await serving.columns.remove(column_id):
        raise ApiError(404, f"there is no column with the id {column_id}")
    return answer({"id": column_id})


@router.get(
    "/document-type-columns/{column}/document-types",
    response_model=APIResponse[list[ColumnDocumentType]],
    responses=documented(),
    summary="The types of documents that a column is shown for",
    operation_id="list_types_of_column",
)
async def document_types(column: str, identity: Viewer, serving: Serving) -> JSON:
    """By module, of those that the token may see."""
    return answer(await serving.columns.document_types(_column(column), modules=_modules(identity)))
