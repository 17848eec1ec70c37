"""What administrators send and are told, in words of the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from docservice.workers import Outcome

_MOST_PROCESSES = 10_000
_MOST_SECONDS = 7 * 86_400

Worker = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
Workers = Annotated[list[Worker], Field(min_length=1, max_length=100)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


class ResizeRequest(BaseModel):
    """Processes to add to or take from each of the workers, and how long the autoscaler leaves them so."""

    model_config = ConfigDict(extra="forbid")

    workers: Workers
    processes: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    hold_seconds: Annotated[float, Field(ge=0, le=_MOST_SECONDS)] = 300


class OverrideChange(BaseModel):
    """What the autoscaler shall keep to. What is left out stays; null lifts a bound."""

    model_config = ConfigDict(extra="forbid")

    paused: Annotated[bool | None, Field(strict=True)] = None
    min: Annotated[int | None, Field(strict=True, ge=1, le=_MOST_PROCESSES)] = None
    max: Annotated[int | None, Field(strict=True, ge=1, le=_MOST_PROCESSES)] = None
    expires_in_seconds: Annotated[int, Field(ge=1, le=_MOST_SECONDS)] = 3600
    why: Annotated[str | None, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = None


class DrainRequest(BaseModel):
    """Workers to end without losing a task, and how long that may take.

    ``force`` ends a queue's last worker too.
    """

    model_config = ConfigDict(extra="forbid")

    workers: Workers
    deadline_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300
    force: Annotated[bool, Field(strict=True)] = False


class WorkerOutcome(BaseModel):
    """What came of a command to one worker; sizes are processes, null where unknown."""

    worker: str
    outcome: Outcome
    before: int | None
    after: int | None
    lossless: bool
    detail: str | None


class WorkerPool(BaseModel):
    """What one worker says of itself, in counts; ``answered`` is false for one that is silent."""

    worker: str
    answered: bool
    size: int | None = None
    busy: int | None = None
    reserved: int | None = None
    kind: str | None = None
    companion: bool | None = None
    autoscale: bool | None = None
    refusal: str | None = None
    queues: list[str] | None = None
    uptime_seconds: float | None = None


class OverrideBody(BaseModel):
    """What administrators asked of the autoscaler."""

    paused: bool
    min: int | None
    max: int | None
    hold_until: dict[str, datetime]
    expires_at: datetime | None
    by: str | None
    why: str | None


class AutoscaleBody(BaseModel):
    """The autoscaler's last tick, null when none reported lately, and what is asked of it."""

    status: dict[str, Any] | None
    override: OverrideBody


class DrainBegun(BaseModel):
    """A drain that runs in the background."""

    id: str
    workers: list[str]
    status_url: str


class DrainBody(BaseModel):
    """How far a drain has come: by worker, what it does and what is left."""

    id: str
    workers: list[str]
    state: Literal["running", "done", "failed", "lost"]
    report: dict[str, Any]
    begun_at: datetime
    deadline_at: datetime
    ended_at: datetime | None


class AuditEntry(BaseModel):
    """One attempt."""

    id: int
    at: datetime
    request_id: str
    token_id: int | None
    actor: str
    remote_address: str
    action: str
    request: dict[str, Any]
    size_before: dict[str, Any] | None
    size_after: dict[str, Any] | None
    outcome: str
    status: int
    duration_seconds: float
