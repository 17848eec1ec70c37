"""What an administrator's override has in force, as conditions: what, by whom, until when and why. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.core.model import Override


def override_conditions(override: Override) -> dict[tuple[str, str], str]:
    """The parts of an override that are in force: what, by whom, until when and why."""
    found: dict[tuple[str, str], str] = {}
    if override.paused:
        found["override", "pause"] = f"paused {_origin(override, override.paused_until)}"
    bounds = (("min", override.min_processes), ("max", override.max_processes))
    if limits := " and ".join(f"{name} {size}" for name, size in bounds if size is not None):
        found["override", "limits"] = f"{limits} {_origin(override, override.limits_until)}"
    for worker in override.held_workers:
        found["override", worker] = f"held {_origin(override, override.held_until.get(worker))}"
    return found


def _origin(override: Override, until: float | None) -> str:
    end = "until it is ended" if until is None else f"until {_utc(until)}"
    return f"by {override.by or 'an unnamed person'} {end}" + (f": {override.why}" if override.why else "")


def _utc(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
