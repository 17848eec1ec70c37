"""What a ScaledObject asks for: the metadata of its trigger, checked.

Pure. KEDA passes on all of a trigger's metadata, its own keys too; those are ignored, any other one is a
mistake and is refused by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS = ("queue", "processesPerWorker", "scaleIn")
#: What KEDA reads for itself (its external_scaler.go, and earlier releases).
#: Where the token may stand: as it is, or as KEDA resolves it from a variable of the workers' container.
TOKEN_KEYS = ("tokenFromEnv", "token")
_OF_KEDA = ("scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile", "metricType")


class QuestionError(ValueError):
    """Metadata that cannot be used; the message names the key, its value and what is legal."""


class ScaleIn(StrEnum):
    """When the fleet may become smaller.

    ``idle``: only while no worker runs or holds a task. ``spare``: never to fewer workers than hold tasks;
    whoever is chosen has to be drained.
    """

    IDLE = "idle"
    SPARE = "spare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The queues whose workers are counted, in the order of their names, and how.

    ``processes_per_worker`` is None where the ScaledObject does not state it.
    """

    queues: tuple[str, ...]
    processes_per_worker: int | None = None
    scale_in: ScaleIn = ScaleIn.IDLE


def parse_question(metadata: Mapping[str, str], default: Question) -> Question:
    """The question in a trigger's ``metadata``; what it leaves out is taken from ``default``.

    Raises:
        QuestionError: in one line, for the first fault.
    """
    unknown = sorted(set(metadata) - {*_OURS, *_OF_KEDA, *TOKEN_KEYS})
    if unknown:
        raise QuestionError(f"metadata {unknown[0][:60]!r} is not known; legal are {', '.join(_OURS)}")
    queues = default.queues
    if "queue" in metadata:
        queues = tuple(
            sorted({name for name in (word.strip() for word in metadata["queue"].split(",")) if name})
        )
    if not queues:
        raise QuestionError(
            "no queue is named; give metadata queue: NAME (several separated by commas), or --queue"
        )
    per_worker = default.processes_per_worker
    if "processesPerWorker" in metadata:
        per_worker = _whole("processesPerWorker", metadata["processesPerWorker"])
    scale_in = metadata.get("scaleIn", default.scale_in)
    if scale_in not in set(ScaleIn):
        raise QuestionError(f"metadata scaleIn is {scale_in[:60]!r}; legal are {', '.join(ScaleIn)}")
    return Question(queues=queues, processes_per_worker=per_worker, scale_in=ScaleIn(scale_in))


def _whole(key: str, text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PROCESSES:
        return int(text[:9])
    raise QuestionError(
        f"metadata {key} is {text[:60]!r}; it must be a whole number from 1 to {MAX_PROCESSES}"
    )
