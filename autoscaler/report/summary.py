"""What a span of the history comes to: time at the maximum, share in time, process-hours and their like.

Pure. Every figure is over what is known; how much that is stands beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOUR = 3600.0
#: Below this share of the time in which queues were read no wait is told: it would be that of idle times.
_ENOUGH = 0.9


def summary(window: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one window of a series.

    ``process_hours`` is what the pools have used, ``fixed_pool_process_hours`` what a pool of the peak would
    have used in the same time. ``share_in_time`` is the share of the time in which the oldest message had
    waited no longer than the target wait, ``age_p95_seconds`` what that age did not exceed 95 % of the time.
    """
    step, columns = float(window["step_seconds"]), window["columns"]
    processes, peaks = known(columns["processes"]), known(columns["peak"])
    at_max, depths = known(columns["at_max"]), columns["waiting"]
    late, ages = enough(columns["late"], depths), enough(columns["age"], depths)
    seconds, peak = len(processes) * step, max(peaks, default=None)
    used = sum(processes) * step / _HOUR
    fixed = None if peak is None else peak * seconds / _HOUR
    return {
        "known_seconds": seconds,
        "unknown_seconds": len(columns["processes"]) * step - seconds,
        "peak_processes": peak,
        "process_hours": _rounded(used) if processes else None,
        "fixed_pool_process_hours": _rounded(fixed),
        "saved_share": _rounded(1 - used / fixed) if fixed else None,
        "seconds_at_max": _rounded(sum(at_max) * step) if at_max else None,
        "share_in_time": _rounded(1 - sum(late) / len(late)) if late else None,
        "age_p95_seconds": _rounded(percentile(ages, 0.95)),
    }


def known(column: Sequence[float | None]) -> list[float]:
    """The values of a column that are known."""
    return [value for value in column if value is not None]


def enough(waits: Sequence[float | None], depths: Sequence[float | None]) -> list[float]:
    """The waits that are known, none of them where too few are known of the time in which depths are.

    A part of the groups or a queue that nobody consumes may be unknown while something waits, and known else.
    """
    found = known(waits)
    return found if len(found) >= _ENOUGH * len(known(depths)) else []


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of them do not exceed (nearest rank), None where there are none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
