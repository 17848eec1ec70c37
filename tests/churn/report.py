"""The results as tables for people."""

from __future__ import annotations

import json
import subprocess
from typing import Any

_COLUMNS = {
    "mode": "resized by",
    "scenario": "scenario",
    "resizes": "resizes",
    "refused": "refused",
    "troubles": "troubles",
    "published": "tasks",
    "lost": "lost",
    "twice": "run twice",
    "redelivered": "redelivered",
    "excused": "killed",
    "oom_kills": "OOM kills",
    "exact": "exact at the end",
}
_SUMMED = (
    "resizes",
    "refused",
    "troubles",
    "deaths",
    "published",
    "lost",
    "twice",
    "redelivered",
    "excused",
    "oom_kills",
)

_VERSIONS = """
import json, platform
from importlib.metadata import version
names = ("celery", "billiard", "kombu", "redis")
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in names}}))
"""


def describe(python: str) -> dict[str, str]:
    """The versions of what runs the worker."""
    done = subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def totals(runs: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Sums for each mode; a run that failed is counted as such."""
    sums: dict[str, dict[str, int]] = {}
    for run in runs:
        mode = sums.setdefault(str(run["mode"]), dict.fromkeys((*_SUMMED, "inexact", "failed"), 0))
        mode["failed"] += "error" in run
        mode["inexact"] += not run.get("exact", True)
        for key in _SUMMED:
            mode[key] += run.get(key, 0)
    return sums


def run_table(runs: list[dict[str, Any]]) -> str:
    """Every run as a line, and the totals for each mode."""
    lines = [_row(_COLUMNS.values()), _row("---" for _ in _COLUMNS)]
    lines += [_row(_cell(run, key) for key in _COLUMNS) for run in runs]
    for mode, sums in totals(runs).items():
        lines.append(_row((mode, "**all**", *(str(sums.get(key, "")) for key in list(_COLUMNS)[2:]))))
    return "\n".join(lines)


def growth_table(growths: list[dict[str, Any]]) -> str:
    """From resize to the first task of the new process."""
    if not growths:
        return ""
    lines = ["", _row(("resized by", "growths", "median", "longest")), _row(["---"] * 4)]
    for growth in growths:
        seconds = (f"{growth[key]:.2f} s" for key in ("median_seconds", "max_seconds"))
        lines.append(_row((growth["mode"], str(growth["rounds"]), *seconds)))
    return "\n".join(lines)


def _cell(run: dict[str, Any], key: str) -> str:
    if key == "exact":
        return "failed" if "error" in run else ("yes" if run["exact"] else "no")
    return str(run.get(key, ""))


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
