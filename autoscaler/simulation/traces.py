"""A trace of work: when tasks arrive and how long each takes; read from text, faults reported with their row.

Two forms of CSV are read. *Tasks*: ``offset_s,service_s``, one row for each task, seconds since the start.
*Counts*: a time and a number for each bin (``offset_s,count``, or ``timestamp,value`` with ISO 8601 times),
which :func:`parse_counts` spreads uniformly over the bin, with service times drawn from a model.
"""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_TASKS = 20_000_000
#: A year: longer traces and tasks are taken for a fault of units.
LONGEST_SECONDS = 366 * 86_400.0
_FEWEST_BINS = 2


class TraceError(ValueError):
    """A trace that cannot be used: one line with the row and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Tasks in order of arrival, both sequences in seconds and of one length.

    ``duration_seconds`` is what is simulated at least; it is not before the last arrival.

    Raises:
        TraceError: when there is no task, or the parts contradict each other.
    """

    name: str
    arrivals_seconds: Sequence[float]
    services_seconds: Sequence[float]
    duration_seconds: float

    def __post_init__(self) -> None:
        if not self.arrivals_seconds:
            raise TraceError(f"{self.name}: there is no task in it; a trace has one or more")
        if len(self.arrivals_seconds) != len(self.services_seconds):
            raise TraceError(
                f"{self.name}: {len(self.arrivals_seconds)} arrivals and {len(self.services_seconds)} service"
                " times; there must be one for each"
            )
        if self.duration_seconds < self.arrivals_seconds[-1]:
            raise TraceError(
                f"{self.name}: the duration is {self.duration_seconds:g} s, before the last arrival at"
                f" {self.arrivals_seconds[-1]:g} s"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceModel:
    """Lognormal service times: their mean, and ``variation``, the standard deviation over the mean."""

    mean_seconds: float
    variation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.mean_seconds <= LONGEST_SECONDS:
            raise TraceError(f"the mean service time is {self.mean_seconds:g} s; it must be above 0")
        if not 0 <= self.variation <= 100:  # noqa: PLR2004 - a bound against mistaken units
            raise TraceError(f"the variation of service times is {self.variation:g}; it must be 0 to 100")

    def draw(self, rng: random.Random) -> float:
        """Return one service time in seconds."""
        spread = math.log1p(self.variation**2)
        return rng.lognormvariate(math.log(self.mean_seconds) - spread / 2, math.sqrt(spread))


def parse_tasks(lines: Iterable[str], name: str) -> Trace:
    """Return the trace of CSV ``lines`` with the header ``offset_s,service_s``.

    Raises:
        TraceError: with the row (the header is row 1) and what is wrong in it.
    """
    arrivals: list[float] = []
    services: list[float] = []
    previous = 0.0
    for row, cells in _rows(lines, name, {("offset_s", "service_s")}):
        offset = _seconds(name, row, "offset_s", cells[0])
        if offset < previous:
            raise TraceError(
                f"{name}, row {row}: offset_s is {offset:g}, before {previous:g} of the row above; sort it"
            )
        previous = offset
        arrivals.append(offset)
        services.append(_seconds(name, row, "service_s", cells[1]))
        if len(arrivals) > MAX_TASKS:
            raise TraceError(f"{name}, row {row}: more than {MAX_TASKS} tasks; cut the trace")
    return Trace(name=name, arrivals_seconds=arrivals, services_seconds=services, duration_seconds=previous)


def parse_counts(
    lines: Iterable[str], name: str, service: ServiceModel, *, seed: int = 0, bin_seconds: float | None = None
) -> Trace:
    """Return a trace drawn from counts for each bin.

    A bin lasts until the next row, or ``bin_seconds`` where that is shorter or given for the last one; by
    default the last bin is as long as the shortest. The same seed gives the same trace.

    Raises:
        TraceError: with the row and what is wrong in it.
    """
    offsets: list[float] = []
    counts: list[int] = []
    zero: datetime | None = None
    for row, cells in _rows(lines, name, {("offset_s", "count"), ("timestamp", "value")}):
        if zero is None:
            zero = _moment(cells[0])
        offset = _since(zero, name, row, cells[0]) if zero else _seconds(name, row, "offset_s", cells[0])
        if offsets and offset <= offsets[-1]:
            raise TraceError(
                f"{name}, row {row}: its time {cells[0]!r} is not after that of the row above; sort it"
            )
        offsets.append(offset)
        counts.append(_count(name, row, cells[1]))
    return spread_counts(name, offsets, counts, service, seed=seed, bin_seconds=bin_seconds)


def spread_counts(
    name: str,
    offsets_seconds: Sequence[float],
    counts: Sequence[int],
    service: ServiceModel,
    *,
    seed: int = 0,
    bin_seconds: float | None = None,
) -> Trace:
    """Return a trace with each bin's arrivals uniform in it; the bins are as in :func:`parse_counts`."""
    if sum(counts) > MAX_TASKS:
        raise TraceError(f"{name}: {sum(counts)} tasks; a trace has at most {MAX_TASKS}")
    if not sum(counts):
        raise TraceError(f"{name}: there is no task in it; a trace has one or more")
    if bin_seconds is None:
        if len(offsets_seconds) < _FEWEST_BINS:
            raise TraceError(f"{name}: how long a bin lasts cannot be derived from one; give bin_seconds")
        bin_seconds = min(later - earlier for earlier, later in pairwise(offsets_seconds))
    if not 0 < bin_seconds <= LONGEST_SECONDS:
        raise TraceError(f"{name}: bin_seconds is {bin_seconds:g}; it must be above 0")
    rng = random.Random(seed)  # noqa: S311 - a simulation
    start = offsets_seconds[0]
    ends = [*offsets_seconds[1:], math.inf]
    arrivals = [
        offset - start + rng.random() * min(bin_seconds, end - offset)
        for offset, end, count in zip(offsets_seconds, ends, counts, strict=True)
        for _ in range(count)
    ]
    arrivals.sort()
    return Trace(
        name=name,
        arrivals_seconds=arrivals,
        services_seconds=[service.draw(rng) for _ in arrivals],
        duration_seconds=offsets_seconds[-1] - start + bin_seconds,
    )


def _rows(lines: Iterable[str], name: str, headers: set[tuple[str, str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield (row number, cells) of the rows below a header that is one of ``headers``."""
    legal = " or ".join(repr(",".join(header)) for header in sorted(headers))
    reader = csv.reader(lines)
    try:
        header = next(reader, None)
        if header is None:
            raise TraceError(f"{name}: it is empty; its first row must be {legal}")
        if tuple(cell.strip() for cell in header) not in headers:
            raise TraceError(f"{name}, row 1: the header is {','.join(header)[:60]!r}; it must be {legal}")
        for row, cells in enumerate(reader, start=2):
            if len(cells) != len(header):
                raise TraceError(f"{name}, row {row}: {len(cells)} cells where {len(header)} belong")
            yield row, cells
    except csv.Error as error:
        raise TraceError(f"{name}, row {reader.line_num}: it is not CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{name}, after row {reader.line_num}: it is not text in UTF-8") from error


def _seconds(name: str, row: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise TraceError(f"{name}, row {row}: {column} is {cell[:40]!r}; it must be seconds") from None
    if not 0 <= value <= LONGEST_SECONDS:
        raise TraceError(
            f"{name}, row {row}: {column} is {cell[:40]!r}; it must be 0 to {LONGEST_SECONDS:.0f} seconds"
        )
    return value


def _count(name: str, row: int, cell: str) -> int:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (0 <= value <= MAX_TASKS and value.is_integer()):
        raise TraceError(f"{name}, row {row}: the count is {cell[:40]!r}; it must be 0 to {MAX_TASKS}")
    return int(value)


def _moment(cell: str) -> datetime | None:
    """Return the time where the cell is one, None where it is a number."""
    try:
        float(cell)
    except ValueError:
        pass
    else:
        return None
    try:
        return datetime.fromisoformat(cell.strip())
    except ValueError:
        return None


def _since(zero: datetime, name: str, row: int, cell: str) -> float:
    try:
        seconds = (datetime.fromisoformat(cell.strip()) - zero).total_seconds()
    except (ValueError, TypeError):
        raise TraceError(
            f"{name}, row {row}: the time is {cell[:40]!r}; it must be like {zero.isoformat()}"
        ) from None
    if seconds > LONGEST_SECONDS:
        raise TraceError(f"{name}, row {row}: the time is {cell[:40]!r}, more than a year after the first")
    return seconds
