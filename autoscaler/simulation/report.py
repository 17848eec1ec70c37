"""What came of a simulation, for people (table) and for programs (dict)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.simulation.engine import ReplayResult
    from autoscaler.simulation.traces import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One policy on one trace. ``cost`` is process-seconds over seconds of work: 1 is the limit.

    ``within_target`` is the share of tasks that started within the target.
    """

    policy: str
    within_target: float
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_p99_seconds: float
    cost: float
    process_seconds: float
    starts: int
    changes: int
    peak_processes: int


def summarize(outcome: ReplayResult, target_wait_seconds: float) -> Summary:
    """Return the figures of one run; quantiles are the smallest wait that the share does not exceed."""
    waits = sorted(outcome.waits_seconds)
    within = sum(wait <= target_wait_seconds for wait in waits) / len(waits)
    p50, p95, p99 = (waits[math.ceil(share * len(waits)) - 1] for share in (0.5, 0.95, 0.99))
    return Summary(
        policy=outcome.scaler,
        within_target=within,
        wait_p50_seconds=p50,
        wait_p95_seconds=p95,
        wait_p99_seconds=p99,
        cost=outcome.process_seconds / outcome.work_seconds if outcome.work_seconds else math.inf,
        process_seconds=outcome.process_seconds,
        starts=outcome.starts,
        changes=outcome.changes,
        peak_processes=outcome.peak_processes,
    )


def as_dict(
    trace: Trace, target_wait_seconds: float, summaries: Sequence[Summary], bound: Summary | None = None
) -> dict[str, Any]:
    """Return the comparison in JSON's types; a cost that is not finite is None. ``bound`` is no policy."""
    policies = [_as_dict(summary) for summary in summaries]
    return {
        "trace": trace.name,
        "tasks": len(trace.arrivals_seconds),
        "duration_seconds": trace.duration_seconds,
        "target_wait_seconds": target_wait_seconds,
        "policies": policies,
        **({} if bound is None else {"bound": _as_dict(bound)}),
    }


def _as_dict(summary: Summary) -> dict[str, Any]:
    found = asdict(summary)
    return found if math.isfinite(summary.cost) else found | {"cost": None}


def table(
    trace: Trace, target_wait_seconds: float, summaries: Sequence[Summary], bound: Summary | None = None
) -> str:
    """Return the comparison as lines of text, one for each policy, and one for ``bound`` below a rule."""
    header = ("policy", "in target", "p50", "p95", "p99", "cost", "starts", "changes", "peak")
    rows = [header, *(_cells(summary) for summary in (*summaries, *([bound] if bound else [])))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    title = (
        f"{trace.name}: {len(trace.arrivals_seconds)} tasks in {trace.duration_seconds:.0f} s, target wait"
        f" {target_wait_seconds:g} s; cost is process-seconds over seconds of work"
    )
    rule = "-" * max(map(len, lines))
    if bound:
        lines.insert(-1, rule)
    return "\n".join([title, "", lines[0], rule, *lines[1:]])


def _cells(summary: Summary) -> tuple[str, ...]:
    return (
        summary.policy,
        f"{summary.within_target:.2%}",
        f"{summary.wait_p50_seconds:.2f} s",
        f"{summary.wait_p95_seconds:.2f} s",
        f"{summary.wait_p99_seconds:.2f} s",
        f"{summary.cost:.2f}",
        str(summary.starts),
        str(summary.changes),
        str(summary.peak_processes),
    )
