"""Pictures of a back-test: one row for each policy, and the choice that a search made.

matplotlib is an extra and is imported when something is drawn, never before.
"""

from __future__ import annotations

import importlib
import importlib.util
from bisect import bisect_right
from operator import add
from textwrap import fill
from typing import TYPE_CHECKING, Any

from autoscaler.simulation.verdict import KEPT_SHARE, verdict, winner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from autoscaler.simulation.engine import ReplayResult
    from autoscaler.simulation.report import Summary
    from autoscaler.simulation.traces import Trace
    from autoscaler.simulation.tune import Trial

#: What to do where the extra is missing, in an environment of one's own and in a checkout.
MISSING = (
    "a plot needs matplotlib: pip install 'celery-pool-autoscaler[plot]', in a checkout uv run --extra plot"
    " autoscaler ..."
)
# The palette of Okabe and Ito, whose colours people with any kind of colour blindness can tell apart.
_OURS = "#0072B2"
_OTHER = "#666666"
_WAITING = "#E69F00"
_ARRIVALS = "#BBBBBB"
_CHOSEN = "#D55E00"
_BOUND = "#009E73"
_POINTS = 1200
#: A policy whose peak is this many times ours is cut off at the top, its peak written there: drawn whole,
#: it would flatten every other row.
_CUT_ABOVE = 3.0
#: Where a column of bars has its label: the summary's value, how it is written.
_BARS: tuple[tuple[str, str, str], ...] = (
    ("cost", "cost\n(process-s per work-s)", "{:.2f}"),
    ("starts", "process starts", "{:,}"),
    ("within_target", "started in time", "{:.2%}"),
)


class PlotError(RuntimeError):
    """The plot cannot be drawn: one line with what to do."""


def plot_comparison(
    trace: Trace,
    target_wait_seconds: float,
    outcomes: Sequence[ReplayResult],
    summaries: Sequence[Summary],
    path: Path,
    *,
    ours: str,
    bound: tuple[ReplayResult, Summary] | None = None,
) -> None:
    """Draw each policy as a row on one time axis, with bars for cost, starts and share within the target.

    ``summaries`` are those of ``outcomes``, in the same order; ``ours`` names the policy to mark. Below them
    ``bound``, which is no policy, is drawn in another colour. The format follows the ending of ``path``.

    Raises:
        PlotError: when matplotlib is missing, or the file cannot be written.
    """
    said = verdict(summaries, target_wait_seconds)
    misses = any(summary.within_target < KEPT_SHARE for summary in summaries)
    if bound is not None:
        outcomes, summaries = [*outcomes, bound[0]], [*summaries, bound[1]]
    rows = len(outcomes) + 1
    figure = _figure((13, 1.6 + 1.25 * rows))
    grid = figure.add_gridspec(rows, 1 + len(_BARS), width_ratios=(7, *[1.5] * len(_BARS)))
    unit, per = _time_unit(trace.duration_seconds)
    arrivals = figure.add_subplot(grid[0, 0])
    _draw_arrivals(arrivals, trace, per)
    waiting = [_waiting(trace, outcome) for outcome in outcomes]
    top = _common_top([outcome.peak_processes for outcome in outcomes], _index_of(ours, outcomes))
    max_waiting = _common_top([max(counts) for _, counts in waiting], _index_of(ours, outcomes))
    for row, (outcome, summary) in enumerate(zip(outcomes, summaries, strict=True), start=1):
        axes = figure.add_subplot(grid[row, 0], sharex=arrivals)
        colour = _BOUND if bound and outcome is bound[0] else _OURS if outcome.scaler == ours else _OTHER
        _draw_policy(axes, outcome, waiting[row - 1], per, colour=colour, tops=(top, max_waiting))
        _label_time(axes, unit if row == rows - 1 else None)
        bars = [figure.add_subplot(grid[row, column]) for column in range(1, 1 + len(_BARS))]
        _draw_bars(bars, summary, summaries, colour=colour)
    for column, (_, label, _) in enumerate(_BARS, start=1):
        _heading(figure.add_subplot(grid[0, column]), label)
    arrivals.tick_params(labelbottom=False)
    if misses:
        figure.supxlabel("Hollow bars: the policy misses the target.", x=0.99, ha="right", fontsize="small")
    figure.suptitle(fill(said, 110), x=0.01, ha="left", fontsize="large", fontweight="bold")
    _save(figure, path)


def plot_trials(trials: Sequence[Trial], chosen: Trial, target_wait_seconds: float, path: Path) -> None:
    """Draw what a search tried: cost over starts, those that miss the target hollow, the chosen one marked.

    Raises:
        PlotError: when matplotlib is missing, or the file cannot be written.
    """
    figure = _figure((8, 5.5))
    axes = figure.subplots()
    for keeps, face, label in ((True, _OURS, "keeps the target"), (False, "none", "misses the target")):
        some = [trial.summary for trial in trials if trial.keeps is keeps]
        if some:
            axes.scatter(
                [summary.starts for summary in some],
                [summary.cost for summary in some],
                facecolors=face,
                edgecolors=_OURS,
                label=label,
            )
    best = chosen.summary
    parameters = chosen.parameters
    axes.scatter([best.starts], [best.cost], marker="*", s=260, color=_CHOSEN, zorder=3, label="chosen")
    axes.annotate(
        f"--start-worth {parameters.start_worth_seconds:g}\n--release-caution {parameters.release_caution:g}",
        (best.starts, best.cost),
        xytext=(12, 12),
        textcoords="offset points",
        fontsize="small",
    )
    axes.set_xlabel("process starts")
    axes.set_ylabel("cost (process-seconds per second of work)")
    axes.grid(visible=True, color="0.9")
    axes.legend(frameon=False, fontsize="small")
    axes.set_title(
        f"Chosen for {target_wait_seconds:g} s: cost {best.cost:.2f}, {best.starts:,} starts,"
        f" {best.within_target:.2%} in time",
        loc="left",
    )
    _save(figure, path)


def _figure(size: tuple[float, float]) -> Any:
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError(MISSING)
    return importlib.import_module("matplotlib.figure").Figure(figsize=size, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise PlotError(f"the plot cannot be written to {path}: {error}") from error


def _time_unit(seconds: float) -> tuple[str, float]:
    for unit, per in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds > 3 * per:
            return unit, per
    return "seconds", 1.0


def _index_of(name: str, outcomes: Sequence[ReplayResult]) -> int:
    return next(index for index, outcome in enumerate(outcomes) if outcome.scaler == name)


def _common_top(peaks: Sequence[int], ours: int) -> float:
    """One scale for all rows: the highest peak that is not out of all proportion to ours."""
    return 1.15 * max(1, *(peak for peak in peaks if peak <= _CUT_ABOVE * max(1, peaks[ours])))


def _draw_arrivals(axes: Any, trace: Trace, per: float) -> None:
    bins = 300
    width = max(trace.duration_seconds / bins, 1e-9)
    counts = [0] * (bins + 1)
    for arrival in trace.arrivals_seconds:
        counts[int(arrival / width)] += 1
    at = [index * width / per for index in range(bins + 1)]
    axes.fill_between(at, [count / width for count in counts], step="post", color=_ARRIVALS, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, trace.duration_seconds / per)
    axes.set_ylabel("arrivals/s", fontsize="small")
    tasks = f"{trace.name}: {len(trace.arrivals_seconds):,} tasks"
    axes.set_title(tasks, loc="left", fontsize="medium")


def _waiting(trace: Trace, outcome: ReplayResult) -> tuple[list[float], list[int]]:
    """Tasks that have arrived and not started, at evenly spaced moments in seconds."""
    # From each task's own times: a policy that looks once a minute is drawn as finely as the others.
    arrivals = trace.arrivals_seconds
    starts = sorted(map(add, arrivals, outcome.waits_seconds))
    at = [index * max(trace.duration_seconds, 1e-9) / _POINTS for index in range(_POINTS + 1)]
    return at, [bisect_right(arrivals, moment) - bisect_right(starts, moment) for moment in at]


def _draw_policy(
    axes: Any,
    outcome: ReplayResult,
    waiting: tuple[list[float], list[int]],
    per: float,
    *,
    colour: str,
    tops: tuple[float, float],
) -> None:
    """Processes as a step on the left axis, tasks that wait as an area on the right one."""
    top, max_waiting = tops
    behind = axes.twinx()
    at, counts = waiting
    behind.fill_between(
        [moment / per for moment in at], counts, step="post", color=_WAITING, alpha=0.6, linewidth=0
    )
    behind.set_ylim(0, max_waiting)
    behind.tick_params(labelsize="x-small", colors=_WAITING)
    behind.set_ylabel("waiting", fontsize="x-small", color=_WAITING)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    times = [moment / per for moment, _, _ in outcome.timeline]
    axes.step(times, [size for _, _, size in outcome.timeline], where="post", color=colour, linewidth=1.2)
    axes.set_ylim(0, top)
    axes.set_ylabel("processes", fontsize="x-small")
    axes.tick_params(labelsize="x-small")
    axes.set_title(outcome.scaler, loc="left", fontsize="small", color=colour, fontweight="bold", pad=2)
    cut = [
        f"{what} up to {peak:,}"
        for what, peak, limit in (
            ("processes", outcome.peak_processes, top),
            ("waiting", max(counts), max_waiting),
        )
        if peak > limit
    ]
    if cut:
        axes.set_title("cut off: " + ", ".join(cut), loc="right", fontsize="x-small", pad=2)


def _label_time(axes: Any, unit: str | None) -> None:
    """Label the time below the last row, whose unit is given, and below no other."""
    if unit is None:
        axes.tick_params(labelbottom=False)
    else:
        axes.set_xlabel(f"time ({unit})")


def _draw_bars(bars: Sequence[Any], summary: Summary, summaries: Sequence[Summary], *, colour: str) -> None:
    for bar, (field, _, form) in zip(bars, _BARS, strict=True):
        _draw_bar(bar, summary, summaries, field=field, form=form, colour=colour)


def _draw_bar(
    axes: Any, summary: Summary, summaries: Sequence[Summary], *, field: str, form: str, colour: str
) -> None:
    value = getattr(summary, field)
    kept = [getattr(one, field) for one in summaries if one.within_target >= KEPT_SHARE]
    longest = max(kept or [getattr(one, field) for one in summaries]) or 1
    # A policy that misses the target may be cheap: its bars are hollow, so that nobody reads them as a win.
    hollow = summary.within_target < KEPT_SHARE
    length = min(value, 1.1 * longest)
    axes.barh([0], [length], color="none" if hollow else colour, edgecolor=colour, height=0.5)
    axes.set_xlim(0, 1.75 * longest)
    axes.set_ylim(-0.8, 0.8)
    text = f" {'> ' if length < value else ''}{form.format(value)}"
    weight = "bold" if winner(summaries) is summary else "normal"
    axes.text(length, 0, text, va="center", fontsize="small", fontweight=weight)
    axes.set_axis_off()


def _heading(axes: Any, label: str) -> None:
    axes.text(0, 0, label, va="bottom", fontsize="small")
    axes.set_axis_off()
