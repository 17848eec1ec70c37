"""Numbers over time in bounded memory: a ring for each resolution, the finest for the shortest span.

No I/O and no clock. Time is cut into slots of a tier's step on the wall clock, so that what two daemons keep
of the same time falls into the same slots. A slot without a sample is unknown and stays a gap. A sample holds
until the next one where that comes in time, so that an interval longer than a slot makes no gaps.
"""

from __future__ import annotations

import json
import math
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class Tier(NamedTuple):
    """Slots of ``step`` seconds, ``length`` of them, stored ``block`` at a time."""

    step: int
    length: int
    block: int


#: The spans that a person looks at: 15 minutes, 1 hour, 6 hours, 24 hours.
TIERS = (Tier(2, 450, 15), Tier(5, 720, 12), Tier(30, 720, 10), Tier(120, 720, 10))
MAX_SECONDS = TIERS[-1].step * TIERS[-1].length

_MAX, _MEAN, _BITS = "max", "mean", "bits"
#: The columns, and how the samples of one slot come together: a peak must not vanish in a mean.
COLUMNS: dict[str, str] = {
    "waiting": _MAX,
    "fetched": _MAX,
    "running": _MAX,
    "scheduled": _MAX,
    "age": _MAX,
    "processes": _MEAN,
    "peak": _MAX,
    "target": _MEAN,
    "desired": _MEAN,
    "lower": _MEAN,
    "upper": _MEAN,
    "at_max": _MEAN,
    "late": _MEAN,
    "flags": _BITS,
}
#: Bits of the column ``flags``: what explains a gap or a size that does not move.
PAUSED, OUTAGE, STANDBY = 1, 2, 4

_RULES = tuple(COLUMNS.values())
_NAN = math.nan
_ROUNDED_DIGITS = 3
#: One value for each column, NaN where it is not known.
Row = tuple[float, ...]


def row(**values: float | None) -> Row:
    """A row from what is known, by column."""
    return tuple(_NAN if values.get(name) is None else float(values[name] or 0) for name in COLUMNS)


class _Ring:
    """The slots of one tier."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.slots = array("q", [-1]) * tier.length
        self.columns = [array("f", [_NAN]) * tier.length for _ in COLUMNS]
        self.dirty: set[int] = set()
        self._open = (-1, 0)

    def put(self, slot: int, sample: Row) -> None:
        """Take a sample into its slot, with those that are in it already."""
        index = slot % self.tier.length
        self.dirty.add(index // self.tier.block)
        if self.slots[index] != slot:
            self.slots[index] = slot
            self._open = (slot, 1)
            for column, value in zip(self.columns, sample, strict=True):
                column[index] = value
            return
        # A slot that another daemon has filled counts as one sample.
        count = self._open[1] if self._open[0] == slot else 1
        self._open = (slot, count + 1)
        for column, rule, value in zip(self.columns, _RULES, sample, strict=True):
            column[index] = _merged(rule, column[index], value, count)

    def fill(self, slot: int, values: Sequence[float]) -> bool:
        """Take in a stored slot where none is known; tells whether it was new."""
        index = slot % self.tier.length
        if self.slots[index] >= slot:
            return False
        self.slots[index] = slot
        for column, value in zip(self.columns, values, strict=True):
            column[index] = value
        return True

    def rows(self, block: int) -> Iterator[tuple[int, list[float | int | None]]]:
        start = block * self.tier.block
        for index in range(start, start + self.tier.block):
            if self.slots[index] >= 0:
                yield self.slots[index], [plain(column[index]) for column in self.columns]

    def window(self, name: str, first: int, last: int) -> list[float | int | None]:
        column, slots, count = self.columns[list(COLUMNS).index(name)], self.slots, self.tier.length
        return [
            plain(column[slot % count]) if slots[slot % count] == slot else None
            for slot in range(first, last + 1)
        ]


def _merged(rule: str, before: float, value: float, count: int) -> float:
    if math.isnan(value):
        return before
    if math.isnan(before):
        return value
    if rule == _MAX:
        return max(before, value)
    if rule == _BITS:
        return float(int(before) | int(value))
    return before + (value - before) / (count + 1)


def plain(value: float) -> float | int | None:
    """A number as JSON has it: None where it is not known, short where it is not whole."""
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else round(value, _ROUNDED_DIGITS)


class Series:
    """All columns of one thing over the last 24 hours."""

    def __init__(self) -> None:
        self._rings = tuple(_Ring(tier) for tier in TIERS)
        self._last: tuple[float, Row] | None = None
        #: When the last sample was taken, in epoch seconds.
        self.at = 0.0

    def take(self, at: float, sample: Row, *, hold_seconds: float) -> None:
        """Take in a sample; the one before holds until now if it is at most ``hold_seconds`` old."""
        for ring in self._rings:
            slot = int(at // ring.tier.step)
            if self._last is not None and 0 < at - self._last[0] <= hold_seconds:
                for between in range(int(self._last[0] // ring.tier.step) + 1, slot):
                    ring.put(between, self._last[1])
            ring.put(slot, sample)
        self._last, self.at = (at, sample), at

    def window(self, span_seconds: float, now: float) -> dict[str, Any]:
        """The last ``span_seconds`` in the finest tier that covers them, None where nothing is known."""
        ring, first, last = self._slots(span_seconds, now)
        step = ring.tier.step
        columns = {name: ring.window(name, first, last) for name in COLUMNS}
        return {"from": first * step, "step_seconds": step, "columns": columns}

    def column(self, name: str, span_seconds: float, now: float) -> list[float | int | None]:
        """One column of that window."""
        ring, first, last = self._slots(span_seconds, now)
        return ring.window(name, first, last)

    def _slots(self, span_seconds: float, now: float) -> tuple[_Ring, int, int]:
        ring = next(one for one in self._rings if one.tier.step * one.tier.length >= span_seconds)
        step = ring.tier.step
        last = int(now // step)
        return ring, max(last - ring.tier.length + 1, int((now - span_seconds) // step) + 1), last

    def changed(self) -> dict[str, str]:
        """The blocks that changed since this was last called, as JSON by their field."""
        found = {}
        for ring in self._rings:
            for block in ring.dirty:
                rows = [[slot, *values] for slot, values in ring.rows(block)]
                found[f"{ring.tier.step}:{block}"] = json.dumps(rows, separators=(",", ":"))
            ring.dirty.clear()
        return found

    def mark(self, fields: Iterable[str]) -> None:
        """Take these blocks as changed again: they could not be stored."""
        by_step = {ring.tier.step: ring for ring in self._rings}
        for field in fields:
            step, _, block = field.partition(":")
            by_step[int(step)].dirty.add(int(block))

    def restore(self, stored: Mapping[str, str], now: float) -> None:
        """Fill what is not known from stored blocks; what is no row of a block is left out."""
        for ring in self._rings:
            step = ring.tier.step
            oldest, newest = int((now - step * ring.tier.length) // step), int(now // step)
            for block in range(-(-ring.tier.length // ring.tier.block)):
                for slot, values in _rows(stored.get(f"{step}:{block}", "[]")):
                    if oldest < slot <= newest and ring.fill(slot, values):
                        self.at = max(self.at, float(slot * step))


def _rows(text: str) -> Iterator[tuple[int, list[float]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return
    for one in rows if isinstance(rows, list) else ():
        if not isinstance(one, list) or len(one) != len(COLUMNS) + 1 or type(one[0]) is not int:
            continue
        if not all(value is None or type(value) in {int, float} for value in one):
            continue
        with suppress(OverflowError):  # a whole number beyond any float
            yield one[0], [_NAN if value is None else float(value) for value in one[1:]]
