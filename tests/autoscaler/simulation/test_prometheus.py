"""Traces from a Prometheus server: a real one over HTTP, and answers that are wrong."""

from __future__ import annotations

import pytest

from autoscaler.simulation.prometheus import ARRIVALS, SERVICE, Prometheus, PrometheusError, Span
from autoscaler.simulation.traces import TraceError
from tests.support.simulate import START, Answer, matrix, prometheus, steady


def test_a_range_of_prometheus_becomes_a_trace():
    with prometheus(steady) as (url, asked):
        span = Span(start=START, end=START + 300, step_seconds=30)
        trace, missing = Prometheus(url).trace(span, select='queues="celery"', variation=0, seed=1)
    assert (len(trace.arrivals_seconds), trace.duration_seconds, missing) == (9 * 60, 330.0, 2)
    assert trace.services_seconds == pytest.approx([3.0] * 540)
    quiet = [at for at in trace.arrivals_seconds if 120 <= at < 180]
    assert quiet == []
    plain = {"path": "/api/v1/query_range", "authorization": "", "step": "30"}
    plain |= {"start": str(START), "end": str(START + 300)}
    assert asked == [
        {**plain, "query": f'max by (queues) ({metric}{{queues="celery"}})'} for metric in (ARRIVALS, SERVICE)
    ]


def test_the_mean_service_time_follows_what_was_known_by_then():
    def changing(query: dict[str, str]) -> Answer:
        if SERVICE in query["query"]:
            return matrix(({}, {START + 60: 1.0, START + 120: 5.0}))
        return matrix(({}, {START + 60 * step: 1 / 60 for step in range(4)}))

    with prometheus(changing) as (url, _):
        span = Span(start=START, end=START + 180, step_seconds=60)
        trace, missing = Prometheus(url).trace(span, variation=0)
    assert (trace.services_seconds, missing) == (pytest.approx([1.0, 1.0, 5.0, 5.0]), 0)


def test_a_long_range_is_read_in_parts_that_the_server_answers():
    with prometheus(steady) as (url, asked):
        Prometheus(url).trace(Span(start=START, end=START + 30 * 10_000, step_seconds=30))
    assert [(one["start"], one["end"]) for one in asked[:2]] == [
        (str(START), str(START + 30 * 9999)),
        (str(START + 300_000), str(START + 300_000)),
    ]


@pytest.mark.parametrize(
    ("rate", "mean", "fault"),
    [
        (-1.0, 1.0, f"{ARRIVALS} is -1; it must be 0 to 20000000"),
        (1e300, 1.0, f"{ARRIVALS} is 1e\\+300; it must be 0 to 20000000"),
        (1.0, 1e300, f"{SERVICE} is 1e\\+300; it must be 0 to 31622400"),
    ],
)
def test_a_rate_or_a_mean_that_cannot_be_is_no_trace(rate: float, mean: float, fault: str):
    def answer(query: dict[str, str]) -> Answer:
        return matrix(({}, {START: mean if SERVICE in query["query"] else rate}))

    with prometheus(answer) as (url, _), pytest.raises(TraceError, match=fault):
        Prometheus(url).trace(Span(start=START, end=START + 60, step_seconds=30))


def test_a_bad_address_does_not_show_its_password():
    with pytest.raises(PrometheusError) as caught:
        Prometheus("ftp://me:secret@host")
    assert "secret" not in str(caught.value)
