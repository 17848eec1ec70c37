"""Where `simulate` and `tune` get their trace: a CSV file, or the daemon's own metrics in Prometheus."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.options import Parsed, fail
from autoscaler.report.mask import mask, shown
from autoscaler.settings.parse import number, parse_span, whole
from autoscaler.simulation.prometheus import Prometheus, PrometheusError, Span
from autoscaler.simulation.traces import ServiceModel, Trace, TraceError, parse_counts, parse_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOURCE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.argument("trace", required=False, type=click.Path(path_type=Path)),
    click.option(
        "--service-mean",
        type=Parsed(number(0.000001, 86_400)),
        help="Mean service time in seconds, for a trace of counts.",
    ),
    click.option(
        "--service-cv",
        type=Parsed(number(0, 100, "standard deviation over mean")),
        default=1.0,
        show_default=True,
        help="Standard deviation of service times over their mean, for counts and Prometheus.",
    ),
    click.option(
        "--seed",
        type=Parsed(whole(0, 2**31, "seed")),
        default=0,
        show_default=True,
        help="Seed of the random draws, for counts and Prometheus.",
    ),
    click.option("--prometheus", metavar="URL", help="Read the daemon's own metrics instead of a file."),
    click.option(
        "--start", default="24h", show_default=True, help="As in 2026-01-31T08:00 (UTC), or how long ago."
    ),
    click.option("--end", default="0s", show_default=True, help="As --start."),
    click.option(
        "--step", default="30s", show_default=True, type=Parsed(parse_span), help="Time between two samples."
    ),
    click.option("--select", default="", help="""Label matchers of the series, as in 'queues="mails"'."""),
    click.option(
        "--timeout",
        type=Parsed(number(0.1, 600)),
        default=10.0,
        show_default=True,
        help="Seconds to wait for one response of Prometheus.",
    ),
)

#: What a file's first row may be.
_TASKS, _COUNTS = ("offset_s,service_s",), ("offset_s,count", "timestamp,value")


def trace_of(given: dict[str, Any]) -> Trace:
    """The trace that the options name; ends the command where there is none."""
    path, url = given["trace"], given["prometheus"]
    if (path is None) == (url is None):
        fail(["give either a TRACE file or --prometheus URL"], 2)
    try:
        return (
            _from_prometheus(given) if url is not None else read_trace(path, _service(given), given["seed"])
        )
    except TraceError as fault:
        fail([mask(str(fault))], 2)
    except PrometheusError as fault:
        fail([str(fault)], 1)


def _service(given: dict[str, Any]) -> ServiceModel | None:
    mean = given["service_mean"]
    return None if mean is None else ServiceModel(mean_seconds=mean, variation=given["service_cv"])


def read_trace(path: Path, service: ServiceModel | None, seed: int) -> Trace:
    """The trace in a CSV file; its header says whether it has tasks or counts, which need ``service``.

    Raises:
        TraceError: naming the file, the row and what is wrong.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline(1000)
            lines.seek(0)
            words = header.replace(" ", "").strip()
            if words and words not in {*_TASKS, *_COUNTS}:
                legal = f"{' or '.join(_TASKS)} for tasks, or {' or '.join(_COUNTS)} for counts"
                raise TraceError(f"{path.name}, row 1: the header is {words[:60]!r}; it must be {legal}")
            if words in _COUNTS:
                if service is None:
                    raise TraceError(
                        f"{path.name}: it has counts and no service times; give --service-mean SECONDS"
                    )
                return parse_counts(lines, path.name, service, seed=seed)
            return parse_tasks(lines, path.name)
    except UnicodeDecodeError:
        raise TraceError(f"{path.name}, row {_row_not_text(path)}: it is not text in UTF-8") from None
    except OSError as fault:
        raise TraceError(f"{path}: it cannot be read: {fault.strerror or fault}") from None


def _row_not_text(path: Path) -> int:
    """The row that made the beginning of a file unreadable."""
    row = 0
    with path.open("rb") as lines, suppress(UnicodeDecodeError):
        for row, line in enumerate(lines, start=1):  # noqa: B007 - it is returned
            line.decode()
    return row


def _from_prometheus(given: dict[str, Any]) -> Trace:
    now = time.time()
    moments = {}
    for flag in ("start", "end"):
        try:
            moments[flag] = _moment(given[flag], now)
        except ValueError as fault:
            fail([f"--{flag} is {fault}"], 2)
    try:
        span = Span(**moments, step_seconds=given["step"])
        server = Prometheus(given["prometheus"], timeout_seconds=given["timeout"])
    except PrometheusError as fault:
        fail([str(fault)], 2)
    trace, missing = server.trace(
        span, select=given["select"], variation=given["service_cv"], seed=given["seed"]
    )
    if missing:
        click.echo(f"autoscaler: {missing} of {span.points} steps have no sample and count as idle", err=True)
    return trace


def _moment(text: str, now: float) -> float:
    """Unix seconds from ISO 8601 (UTC unless it says otherwise), from Unix seconds, or from how long ago.

    Raises:
        ValueError: with what is legal.
    """
    with suppress(ValueError):
        seconds = parse_span(text)
        return seconds if text.strip()[-1:].isdigit() else now - seconds
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{shown(text)}; it must be a time as in 2026-01-31T08:00, Unix seconds, or as long ago as 24h"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
