"""The bodies of the admin routes, as the OpenAPI document shows them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from autoscaler.api import MAX_PROCESSES
from docservice.domain.grid.columns import shown
from docservice.http.errors import CODES

#: What the audit calls an attempt. One that was refused before its route knew what it is has its request.
ACTIONS = (
    *("autoscale", "autoscale.read", "documents.delete", "documents.delete.ended", "documents.retry"),
    *("documents.retry.ended", "drain_shutdown", "grow", "inspect", "shrink"),
)
#: What becomes of an attempt: it ends, or fails with the code of its answer.
OUTCOMES = ("done", "started", *sorted(CODES))
_REFUSED = re.compile(r"[A-Z]+ /.*", re.DOTALL)
_MAX_SECONDS = 7 * 86_400

Worker = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Workers = Annotated[list[Worker], Field(min_length=1, max_length=100)]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as fault:
        raise ValueError("it must be within the years 1 to 9999 in UTC") from fault


def _action(text: str) -> str:
    if text not in ACTIONS and not _REFUSED.fullmatch(text):
        raise ValueError(
            f"one of {', '.join(ACTIONS)}, or METHOD /PATH of a refused request is needed, not {shown(text)}"
        )
    return text


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise ValueError(f"one of {', '.join(OUTCOMES)} is needed, not {shown(text)}")
    return text


_Action = Annotated[Text, AfterValidator(_action)]
_Outcome = Annotated[Text, AfterValidator(_outcome)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class AuditFilters(BaseModel):
    """Which attempts of the audit are listed: those for which every filter given holds."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None
    actor: Annotated[Text | None, Field(description="The name of the token.")] = None
    action: Annotated[_Action | None, Field(description="As it is listed, such as `grow`.")] = None
    outcome: Annotated[_Outcome | None, Field(description="As it is listed, such as `done`.")] = None
    since: Annotated[Moment | None, Field(description="The earliest begin, with a time zone.")] = None


class ResizeCommand(BaseModel):
    """Processes to add to or remove from each worker, and how long the autoscaler leaves the worker alone."""

    model_config = ConfigDict(extra="forbid")

    workers: Workers
    processes: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    hold_seconds: Annotated[float, Field(ge=0, le=_MAX_SECONDS)] = 300


class OverrideChange(BaseModel):
    """A change of the override. Fields left out stay as they are; null removes a limit.

    ``hold`` names workers that are left as they are for that time, ``release`` those that no longer are.

    ``expires_in_seconds`` is for what the change sets: it neither shortens nor extends anything else.
    """

    model_config = ConfigDict(extra="forbid")

    paused: Annotated[bool | None, Field(strict=True)] = None
    min: Annotated[int | None, Field(strict=True, ge=1, le=MAX_PROCESSES)] = None
    max: Annotated[int | None, Field(strict=True, ge=1, le=MAX_PROCESSES)] = None
    hold: Workers | None = None
    release: Workers | None = None
    expires_in_seconds: Annotated[int, Field(ge=1, le=_MAX_SECONDS)] = 3600
    why: Annotated[str | None, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = None


class DrainCommand(BaseModel):
    """Workers to end without losing a task, and how long that may take.

    ``force`` ends a queue's last worker too.
    """

    model_config = ConfigDict(extra="forbid")

    workers: Workers
    deadline_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300
    force: Annotated[bool, Field(strict=True)] = False


class WorkerPool(BaseModel):
    """The report of one worker, in counts; ``answered`` is false for one that does not respond."""

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
    """The override that administrators have set.

    ``expires_at`` is the end of the pause, or of the limits where there is no pause; ``limits_expires_at`` is
    the end of the limits. Null is never, or that there are none.
    """

    paused: bool
    min: int | None
    max: int | None
    hold_until: dict[str, datetime]
    expires_at: datetime | None
    limits_expires_at: datetime | None
    by: str | None
    why: str | None


class AutoscaleBody(BaseModel):
    """The last tick of the autoscaler, null when none reported lately, and its override.

    ``override_fault`` says why the stored override is invalid; ``override`` is empty then.
    """

    status: dict[str, Any] | None
    override: OverrideBody
    override_fault: str | None = None


class DrainBegun(BaseModel):
    """A drain that runs in the background."""

    id: str
    workers: list[str]
    status_url: str


class DrainBody(BaseModel):
    """The progress of a drain; ``report`` has the phase and the tasks left of each worker."""

    id: str
    workers: list[str]
    state: Literal["running", "done", "failed", "lost"]
    report: dict[str, Any]
    begun_at: datetime
    deadline_at: datetime
    ended_at: datetime | None
