"""What came of a simulation, for people (table, plot) and for programs (dict)."""

from __future__ import annotations

import importlib
import math
from bisect import bisect_right
from dataclasses import asdict, dataclass
from operator import add
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from autoscaler.simulation.engine import Outcome
    from autoscaler.simulation.traces import Trace


#: Moments at which a curve over time is drawn.
_POINTS = 1200


class PlotError(RuntimeError):
    """The plot cannot be drawn: one line with what to do."""


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


def summarize(outcome: Outcome, target_wait_seconds: float) -> Summary:
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


def as_dict(trace: Trace, target_wait_seconds: float, summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return the comparison in JSON's types; a cost that is not finite is None."""
    policies = [asdict(summary) for summary in summaries]
    for policy in policies:
        if not math.isfinite(policy["cost"]):
            policy["cost"] = None
    return {
        "trace": trace.name,
        "tasks": len(trace.arrivals_seconds),
        "duration_seconds": trace.duration_seconds,
        "target_wait_seconds": target_wait_seconds,
        "policies": policies,
    }


def table(trace: Trace, target_wait_seconds: float, summaries: Sequence[Summary]) -> str:
    """Return the comparison as lines of text, one for each policy."""
    header = ("policy", "in target", "p50", "p95", "p99", "cost", "starts", "changes", "peak")
    rows = [header, *(_cells(summary) for summary in summaries)]
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
    return "\n".join([title, "", lines[0], "-" * max(map(len, lines)), *lines[1:]])


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


def plot(trace: Trace, target_wait_seconds: float, outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw arrivals, waiting tasks and processes of each policy on one time axis, waits below, to ``path``.

    Raises:
        PlotError: when matplotlib is missing, or the file cannot be written.
    """
    try:
        matplotlib = importlib.import_module("matplotlib.figure")  # an extra, needed here alone
    except ImportError as error:
        raise PlotError("a plot needs matplotlib; install the extra: celery-pool-autoscaler[plot]") from error
    figure = matplotlib.Figure(figsize=(11, 12), layout="constrained")
    rates, waiting, sizes, waits = figure.subplots(4, 1, height_ratios=(1, 1, 2, 1.5))
    waiting.sharex(rates)
    sizes.sharex(rates)
    unit, per = _time_unit(trace.duration_seconds)
    _draw_arrivals(rates, trace, per)
    for index, outcome in enumerate(outcomes):
        style = {"color": f"C{index}", "linewidth": 2.0 if index == 0 else 1.0, "label": outcome.scaler}
        style["zorder"] = len(outcomes) + 2 - index
        _draw_waiting(waiting, trace, outcome, per, style)
        at = [moment / per for moment, _, _ in outcome.timeline]
        sizes.step(at, [size for _, _, size in outcome.timeline], where="post", **style)
        _draw_waits(waits, outcome, style)
    waits.axvline(target_wait_seconds, color="black", linestyle=":")
    waits.annotate(
        f" target {target_wait_seconds:g} s", (target_wait_seconds, 1.0), va="top", fontsize="small"
    )
    waiting.set_yscale("symlog", linthresh=10)
    waiting.set_ylabel("tasks waiting")
    sizes.set_ylabel("processes")
    sizes.set_xlabel(f"time ({unit})")
    waits.set_xlim(0, 3 * target_wait_seconds)
    waits.set_yscale("log")
    waits.set_ylim(1e-4, 1.2)
    waits.set_xlabel("wait (s)")
    waits.set_ylabel("share that waits longer")
    rates.set_title(f"{trace.name}: {len(trace.arrivals_seconds)} tasks")
    handles, labels = sizes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize="small", frameon=False)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise PlotError(f"the plot cannot be written to {path}: {error}") from error


def _time_unit(seconds: float) -> tuple[str, float]:
    for unit, per in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds > 3 * per:
            return unit, per
    return "seconds", 1.0


def _draw_arrivals(axes: Any, trace: Trace, per: float) -> None:
    bins = 300
    width = max(trace.duration_seconds / bins, 1e-9)
    counts = [0] * (bins + 1)
    for arrival in trace.arrivals_seconds:
        counts[int(arrival / width)] += 1
    at = [index * width / per for index in range(bins + 1)]
    axes.fill_between(at, [count / width for count in counts], step="post", color="0.6")
    axes.set_ylabel("arrivals a second")
    axes.set_ylim(bottom=0)


def _draw_waiting(axes: Any, trace: Trace, outcome: Outcome, per: float, style: dict[str, Any]) -> None:
    # From each task's own times: a policy that looks once a minute is drawn as finely as the others.
    arrivals = trace.arrivals_seconds
    starts = sorted(map(add, arrivals, outcome.waits_seconds))
    at = [index * max(trace.duration_seconds, 1e-9) / _POINTS for index in range(_POINTS + 1)]
    waiting = [bisect_right(arrivals, moment) - bisect_right(starts, moment) for moment in at]
    axes.step([moment / per for moment in at], waiting, where="post", **style)


def _draw_waits(axes: Any, outcome: Outcome, style: dict[str, Any]) -> None:
    waits = sorted(outcome.waits_seconds)
    points = sorted({round(index * (len(waits) - 1) / 2000) for index in range(2001)})
    longer = [1 - (index + 1) / len(waits) for index in points]
    axes.plot([waits[index] for index in points], [max(share, 1e-6) for share in longer], **style)
