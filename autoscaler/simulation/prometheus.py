"""A trace from a Prometheus server: what the daemon exported about the work, over the HTTP API's range query.

Both metrics are averages over about half a minute, so that a shorter burst comes out flatter than it was.
API: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import base64
import json
import math
import urllib.error
import urllib.request
from bisect import bisect_right
from dataclasses import dataclass, replace
from http.client import HTTPException
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from autoscaler.simulation.traces import (
    LONGEST_SECONDS,
    MAX_TASKS,
    ServiceModel,
    Trace,
    TraceError,
    spread_counts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from http.client import HTTPResponse

ARRIVALS = "celery_autoscaler_arrivals_per_second"
SERVICE = "celery_autoscaler_service_time_seconds"
#: The server refuses more than 11,000 points in one answer.
_MAX_POINTS_PER_QUERY = 10_000
_MAX_POINTS = 1_000_000
_MAX_BYTES = 64 * 2**20
_SHOWN = 200


class PrometheusError(RuntimeError):
    """The server cannot be used: one line that names it and what to do, without its password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of time in Unix seconds, looked at every ``step_seconds``.

    Raises:
        PrometheusError: when it is empty, or has more points than make sense.
    """

    start: float
    end: float
    step_seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise PrometheusError(
                f"the span from {self.start:.0f} to {self.end:.0f} is empty; its start must be before its end"
            )
        if not 1 <= self.step_seconds <= self.end - self.start:
            raise PrometheusError(
                f"the step is {self.step_seconds:g} s; it must be 1 s or more and not above the span of"
                f" {self.end - self.start:.0f} s"
            )
        if self.points > _MAX_POINTS:
            raise PrometheusError(
                f"the span has {self.points} steps; at most {_MAX_POINTS} are read: give a longer step"
            )

    @property
    def points(self) -> int:
        """How many moments are asked for."""
        return int((self.end - self.start) / self.step_seconds) + 1

    def slices(self) -> list[tuple[float, float]]:
        """Starts and ends that the server answers at once."""
        firsts = range(0, self.points, _MAX_POINTS_PER_QUERY)
        lasts = (min(first + _MAX_POINTS_PER_QUERY, self.points) - 1 for first in firsts)
        return [
            (self.start + first * self.step_seconds, self.start + last * self.step_seconds)
            for first, last in zip(firsts, lasts, strict=True)
        ]


class Prometheus:
    """One server. ``timeout_seconds`` is what one answer may take in all."""

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        self._url = _checked(url)
        self._timeout_seconds = timeout_seconds
        # No redirect is followed: the password would be sent to wherever it leads.
        self._opener = urllib.request.build_opener(_NoRedirect)

    def trace(
        self, span: Span, *, select: str = "", variation: float = 1.0, seed: int = 0
    ) -> tuple[Trace, int]:
        """Return the work of ``span`` as a trace, and the number of steps that had no sample.

        ``select`` narrows the series by label matchers (``queues="mails"``). A step without sample is taken
        for quiet. The same samples and seed give the same trace.

        Raises:
            PrometheusError: when the server does not answer, refuses, or has no such series, or several.
            TraceError: when what it has is no trace.
        """
        rates = self._series(ARRIVALS, span, select)
        services = self._series(SERVICE, span, select)
        if not rates or not services:
            missing = ARRIVALS if not rates else SERVICE
            raise PrometheusError(
                f"{self._name} has no samples of {missing}{{{select}}} in that span; is the daemon scraped?"
            )
        return _draw(self._name, span, rates, services, variation=variation, seed=seed)

    @property
    def _name(self) -> str:
        return f"{self._url.scheme}://{self._url.netloc.rpartition('@')[2]}{self._url.path}"

    def _series(self, metric: str, span: Span, select: str) -> dict[int, float]:
        """Return the values of one metric by the number of the step."""
        values: dict[int, float] = {}
        for start, end in span.slices():
            # Several daemons of one fleet report the same.
            query = f"max by (queues) ({metric}{{{select}}})"
            asked = {"query": query, "start": start, "end": end, "step": span.step_seconds}
            found = self._ask("/api/v1/query_range", asked)
            if len(found) > 1:
                groups = ", ".join(sorted(repr(series["metric"].get("queues", "")) for series in found))
                raise PrometheusError(
                    f"{self._name} has {len(found)} groups of queues: {groups[:_SHOWN]};"
                    """ choose one, as in --select 'queues="mails"'"""
                )
            for series in found:
                for at, text in series["values"]:
                    value = float(text)
                    if math.isfinite(value):
                        values[round((float(at) - span.start) / span.step_seconds)] = value
        return values

    def _ask(self, path: str, asked: Mapping[str, object]) -> Sequence[Any]:
        address = f"{self._name.rstrip('/')}{path}?{urlencode(asked)}"
        request = urllib.request.Request(address, headers=_authorization(self._url))  # noqa: S310 - http(s) only
        try:
            text = self._read(request)
        except urllib.error.HTTPError as fault:
            with fault:
                raise PrometheusError(f"{self._name} answers {fault.code}: {_reason(fault)}") from None
        except TimeoutError:
            raise self._late() from None
        except (OSError, HTTPException) as fault:
            reason = getattr(fault, "reason", fault)
            if isinstance(reason, TimeoutError):
                raise self._late() from None
            raise PrometheusError(
                f"{self._name} cannot be read: {str(reason) or type(reason).__name__}"
            ) from None
        return self._result(text)

    def _read(self, request: urllib.request.Request) -> bytes:
        """Return the whole answer; the time is bounded in all, not for each piece of it, headers too."""
        found: SimpleQueue[bytes | Exception] = SimpleQueue()
        Thread(target=self._fetch, args=(request, found), daemon=True).start()
        try:
            answer = found.get(timeout=self._timeout_seconds)
        except Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _fetch(self, request: urllib.request.Request, found: SimpleQueue[bytes | Exception]) -> None:
        answer: HTTPResponse
        pieces, size = [], 0
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                while (piece := answer.read1(65_536)) and size <= _MAX_BYTES:
                    pieces.append(piece)
                    size += len(piece)
        except Exception as fault:  # noqa: BLE001 - raised again where it is waited for
            found.put(fault)
            return
        too_much = PrometheusError(f"{self._name} answers with more than {_MAX_BYTES} bytes")
        found.put(too_much if size > _MAX_BYTES else b"".join(pieces))

    def _late(self) -> PrometheusError:
        return PrometheusError(
            f"{self._name} does not answer within {self._timeout_seconds:g} s; see the address, or give a"
            " longer --timeout"
        )

    def _result(self, text: bytes) -> Sequence[Any]:
        try:
            answer = json.loads(text)
            if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
                raise PrometheusError(f"{self._name} answers: {str(answer.get('error'))[:_SHOWN]}")
            found: Sequence[Any] = answer["data"]["result"]
            for series in found:
                for at, value in series["values"]:
                    round(float(at)), float(value)
                series["metric"].get("queues")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise PrometheusError(
                f"{self._name} does not answer like a Prometheus; its address ends before /api/v1"
            ) from None
        return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        legal = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        legal = False
    if not legal:
        raise PrometheusError("the address of Prometheus must be a URL, as in http://localhost:9090")
    return parts


def _authorization(url: SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    both = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
    return {"Authorization": "Basic " + base64.b64encode(both).decode()}


def _reason(fault: urllib.error.HTTPError) -> str:
    """Return the server's own words where it has any, in one line."""
    if fault.headers.get("Location"):
        return "it leads elsewhere; give the address that it leads to"
    try:
        words = str(json.loads(fault.read(65_536))["error"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        words = str(fault.reason)
    return " ".join(words.split())[:_SHOWN]


def _draw(
    name: str,
    span: Span,
    rates: Mapping[int, float],
    services: Mapping[int, float],
    *,
    variation: float,
    seed: int,
) -> tuple[Trace, int]:
    """Return arrivals at those rates with service times of those means, and the steps without sample."""
    for values, metric, most in ((rates, ARRIVALS, MAX_TASKS), (services, SERVICE, LONGEST_SECONDS)):
        wrong = [value for value in values.values() if not 0 <= value <= most]
        if wrong:
            raise TraceError(f"{name}: {metric} is {wrong[0]:g}; it must be 0 to {most:.0f}")
    counts, owed = [], 0.0
    for index in range(span.points):
        owed += rates.get(index, 0.0) * span.step_seconds
        counts.append(int(owed))
        owed -= counts[-1]
    offsets = [index * span.step_seconds for index in range(span.points)]
    drawn = spread_counts(
        name,
        offsets,
        counts,
        ServiceModel(mean_seconds=1.0, variation=variation),
        seed=seed,
        bin_seconds=span.step_seconds,
    )
    known = sorted(services)

    def mean(arrival: float) -> float:
        """The last mean known by then, before the first one that."""
        return services[known[max(0, bisect_right(known, int(arrival / span.step_seconds)) - 1)]]

    scaled = [
        drawn_seconds * mean(arrival)
        for arrival, drawn_seconds in zip(drawn.arrivals_seconds, drawn.services_seconds, strict=True)
    ]
    missing = span.points - len(rates.keys() & set(range(span.points)))
    return replace(drawn, services_seconds=scaled), missing
