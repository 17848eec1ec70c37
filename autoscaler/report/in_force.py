"""What an administrator's override has in force, as conditions: what, by whom, until when and why. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.core.model import Override


def override_conditions(override: Override) -> dict[tuple[str, str], str]:
    """The parts of an override that are in force: what, by whom, until when and why.

    Who and why are of the pause, where there is none of the limits, and where there are none of the holds.
    """
    found: dict[tuple[str, str], str] = {}
    bounds = (("min", override.min_processes), ("max", override.max_processes))
    limits = " and ".join(f"{name} {size}" for name, size in bounds if size is not None)
    if override.paused:
        found["override", "pause"] = _part("paused", override.paused_until, override)
    if limits:
        named = None if override.paused else override
        found["override", "limits"] = _part(limits, override.limits_until, named)
    for worker in override.held_workers:
        named = None if override.paused or limits else override
        found["override", worker] = _part("held", override.held_until.get(worker), named)
    return found


def _part(what: str, until: float | None, named: Override | None) -> str:
    end = "until it is ended" if until is None else f"until {_utc(until)}"
    if named is None:
        return f"{what} {end}"
    why = f": {named.why}" if named.why else ""
    return f"{what} by {named.by or 'an unnamed person'} {end}{why}"


def _utc(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
