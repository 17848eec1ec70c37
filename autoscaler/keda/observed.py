"""What the scaler answered last, by ScaledObject: for its metrics and its page.

A ScaledObject that has not asked for a while has no series any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from autoscaler.keda.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from autoscaler.keda.answer import Answer

_PREFIX = "celery_autoscaler_keda_"
#: KEDA asks every half a minute or more often.
_FORGET_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer, or the error in its place, at monotonic seconds."""

    at: float
    queues: tuple[str, ...]
    answer: Answer | None = None
    target: int | None = None
    error: str | None = None


class Observed(Collector):
    """The last answer to each ScaledObject, by its namespace and name."""

    def __init__(
        self, version: str, age_seconds: Callable[[], float | None], *, monotonic: Callable[[], float]
    ) -> None:
        self._version = version
        self._age_seconds = age_seconds
        self._monotonic = monotonic
        self._said: Recent[str, Said] = Recent()

    def note(self, scaled_object: str, said: Said) -> None:
        """Take in one answer."""
        self._said.put(scaled_object, said)

    def _current(self) -> list[tuple[str, Said]]:
        now = self._monotonic()
        return sorted((name, said) for name, said in self._said.items() if now - said.at < _FORGET_SECONDS)

    def status(self) -> list[dict[str, Any]]:
        """The last answers as JSON values."""
        now = self._monotonic()
        return [
            {
                "scaled_object": name,
                "queues": list(said.queues),
                "answered_seconds_ago": round(now - said.at, 1),
                "processes": said.answer.processes if said.answer else None,
                "processes_per_worker": said.target,
                "active": said.answer.active if said.answer else None,
                "reason": said.answer.why if said.answer else None,
                "inputs": dict(said.answer.inputs) if said.answer else {},
                "error": said.error,
            }
            for name, said in self._current()
        ]

    def collect(self) -> Iterator[Metric]:
        """The series of this moment."""
        build = GaugeMetricFamily(
            f"{_PREFIX}build_info", "The version of the scaler that runs.", labels=("version",)
        )
        build.add_metric((self._version,), 1.0)
        yield build
        age = GaugeMetricFamily(f"{_PREFIX}look_age_seconds", "Age of the last look at the fleet.")
        if (seconds := self._age_seconds()) is not None:
            age.add_metric((), seconds)
        yield age
        yield from self._answers()

    def _answers(self) -> Iterator[Metric]:
        label = ("scaled_object",)
        processes = GaugeMetricFamily(
            f"{_PREFIX}answer_processes",
            "Processes that the work needs, as KEDA was told last.",
            labels=label,
        )
        targets = GaugeMetricFamily(
            f"{_PREFIX}target_processes",
            "Processes that one worker holds, by which the HPA divides.",
            labels=label,
        )
        active = GaugeMetricFamily(
            f"{_PREFIX}active",
            "1 where there is work, and the first reason for it.",
            labels=(*label, "reason"),
        )
        inputs = GaugeMetricFamily(
            f"{_PREFIX}input", "What the last answer was made of.", labels=(*label, "input")
        )
        for name, said in self._current():
            if said.target is not None:
                targets.add_metric((name,), said.target)
            if said.answer is None:
                continue
            processes.add_metric((name,), said.answer.processes)
            active.add_metric((name, said.answer.why), float(said.answer.active))
            for kind, value in said.answer.inputs.items():
                inputs.add_metric((name, kind), value)
        yield from (processes, targets, active, inputs)
