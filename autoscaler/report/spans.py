"""Spans of a trace as values, and what records them; no library of tracing is needed for either.

What belongs here: which spans a tick has, and the narrow interface that everything else sees. Never: the SDK,
which :mod:`autoscaler.report.otel` alone knows. No attribute may hold a secret, a URL or what a task was
given.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from autoscaler.core.model import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from autoscaler.core.model import Outcome
    from autoscaler.report.status import TickRecord

Kind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
Attribute: TypeAlias = str | int | float | bool
_DONE = frozenset({Result.DONE, Result.BEGUN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span that has ended; times are seconds since the epoch. ``failed`` marks it as an error."""

    name: str
    kind: Kind
    begun: float
    ended: float
    attributes: Mapping[str, Attribute]
    failed: bool = False
    children: tuple[Span, ...] = ()


class ActiveSpan(Protocol):
    """A span that has not ended."""

    def rename(self, name: str) -> None:
        """Give it another name."""

    def set(self, name: str, value: Attribute) -> None:
        """Set an attribute."""

    def fail(self) -> None:
        """Mark it as an error."""


class Traces(Protocol):
    """Records spans. Nothing here waits or raises: what cannot be sent is dropped."""

    #: False where nothing is recorded.
    enabled: bool

    def add(self, span: Span, *, parent: str | None = None) -> None:
        """Record a span that has ended, below the one that ``parent``, a ``traceparent``, names."""

    def span(
        self, name: str, kind: Kind, *, parent: str | None = None, begun: float | None = None
    ) -> AbstractContextManager[ActiveSpan]:
        """A span for the time of the block, below ``parent`` or the current one.

        An exception that leaves the block marks it as an error, with the name of its type alone.
        """

    def traceparent(self) -> str | None:
        """The current span for another process, as the W3C writes it; None outside of any."""

    def close(self, *, within_seconds: float) -> None:
        """Send what is left, for no longer than that."""


class _NoSpan:
    def rename(self, name: str) -> None:
        """Nothing."""

    def set(self, name: str, value: Attribute) -> None:
        """Nothing."""

    def fail(self) -> None:
        """Nothing."""


class NoTraces:
    """Records nothing."""

    enabled = False
    _nothing = nullcontext(_NoSpan())

    def add(self, span: Span, *, parent: str | None = None) -> None:
        """Nothing."""

    def span(self, *_: object, **__: object) -> AbstractContextManager[ActiveSpan]:
        """A block without a span."""
        return self._nothing

    def traceparent(self) -> str | None:
        """None."""
        return None

    def close(self, *, within_seconds: float) -> None:
        """Nothing."""


def of_tick(record: TickRecord, *, clean: Callable[[Any], Any]) -> Span | None:
    """The span of a tick with one child for each resize that was sent; None for a tick that sent none.

    ``clean`` takes secrets out of values.
    """
    if not record.outcomes:
        return None
    begun = record.wall_time - record.seconds
    reasons = {one.worker: str(one.reason) for one in record.plan.decisions}
    resizes = [
        _of_resize(
            outcome,
            begun=begun,
            # Monotonic, as the moment that the tick began.
            seconds=record.seconds
            if outcome.sent_at is None
            else max(0.0, outcome.sent_at - record.observation.at),
            reason=reasons.get(outcome.worker),
            clean=clean,
        )
        for outcome in record.outcomes
    ]
    return Span(
        name="tick",
        kind="internal",
        begun=begun,
        ended=record.wall_time,
        attributes=clean(
            {
                "autoscaler.name": record.name,
                "autoscaler.decisions": len(record.plan.decisions),
                "autoscaler.resizes": len(record.outcomes),
            }
        ),
        children=tuple(resizes),
    )


def _of_resize(
    outcome: Outcome, *, begun: float, seconds: float, reason: str | None, clean: Callable[[Any], Any]
) -> Span:
    attributes: dict[str, Attribute | None] = {
        "autoscaler.worker": outcome.worker,
        "autoscaler.command": outcome.command,
        "autoscaler.from": outcome.before,
        "autoscaler.to": outcome.target,
        "autoscaler.reason": reason,
        "autoscaler.outcome": str(outcome.result),
        "autoscaler.detail": outcome.detail,
    }
    return Span(
        name=f"resize {outcome.worker}",
        kind="client",
        begun=begun,
        ended=begun + seconds,
        attributes=clean({name: value for name, value in attributes.items() if value is not None}),
        failed=outcome.result not in _DONE,
    )
