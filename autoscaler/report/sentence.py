"""What the autoscaler is doing, in one sentence: the first line of the page and of ``autoscaler history``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.core.decider import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.report.history import History
    from autoscaler.report.status import TickRecord

#: By sensor: without it nothing is resized.
_UNREAD = {
    "backlog": "Redis cannot be read",
    "pool": "The workers cannot be asked",
    "lease": "The lease cannot be read",
}
#: The wait is judged over the last quarter of an hour.
_WAIT_SPAN_SECONDS = 900.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def sentence(record: TickRecord, history: History, *, mode: Mode) -> str:
    """The state of one tick in a few short sentences."""
    parts = [_doing(record, mode), _wait(record, history)]
    action = history.last_action()
    if action is not None:
        ago = span(max(0.0, record.wall_time - action["at"]))
        whose = f"{action['worker']} " if len(record.workers) > 1 else ""
        parts.append(f"Last change {ago} ago: {whose}{change(action)}.")
    return " ".join(part for part in parts if part)


def _doing(record: TickRecord, mode: Mode) -> str:
    unread = next((said for sensor, said in _UNREAD.items() if sensor in record.faults), None)
    if unread is not None:
        return f"{unread}: every size stays as it is."
    if not record.workers:
        return "No worker answers."
    size = counted(sum(reading.processes or 0 for reading in record.observation.workers), "process")
    if not record.observation.leader:
        return f"Standing by while another daemon acts; the pools have {size}."
    if record.observation.override.paused:
        return f"Paused by an administrator at {size}."
    return _sizing(record, mode, size)


def _sizing(record: TickRecord, mode: Mode, size: str) -> str:
    decisions = record.plan.decisions
    if mode is not Mode.ACT:
        desired = counted(sum(one.desired or 0 for one in decisions), "process")
        state = "Dry run" if mode is Mode.DRY_RUN else "Disabled"
        return f"{state}: the decision is {desired}, the pools have {size}."
    target = sum(one.target for one in decisions if one.target is not None)
    current = sum(one.current or 0 for one in decisions if one.target is not None)
    if target == current:
        return f"Holding {size}."
    does = "Growing" if target > current else "Shrinking"
    return f"{does} from {current} to {counted(target, 'process')}."


def _wait(record: TickRecord, history: History) -> str:
    target = history.target_wait_seconds
    if target is None:
        return ""
    p95 = history.wait_p95(_WAIT_SPAN_SECONDS, record.wall_time)
    if p95 is None:
        return ""
    verdict = "kept" if p95 <= target else "missed"
    return f"Target wait {verdict}: p95 of the oldest task's wait {seconds(p95)} of {target:g} s."


def change(action: Mapping[str, Any]) -> str:
    """One action in a few words."""
    before = "?" if action["before"] is None else action["before"]
    reason = f", {action['reason']}" if action["reason"] else ""
    return f"{before} → {action['target']}{reason}"


def counted(number: int, noun: str) -> str:
    """``1 process``, ``2 processes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def seconds(value: float) -> str:
    """Seconds with as many digits as matter."""
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004 - a digit more below ten


def span(value: float) -> str:
    """A time that has passed, in its largest unit."""
    if value < 2 * _MINUTE:
        return f"{value:.0f} s"
    if value < 2 * _HOUR:
        return f"{value // _MINUTE:.0f} min"
    return f"{value // _HOUR:.0f} h" if value < 2 * _DAY else f"{value // _DAY:.0f} d"
