"""Traces by the standard variables: of resizes alone, and never in the way of the work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from autoscaler.core.model import Reason
from autoscaler.report.spans import NoTraces
from autoscaler.report.traces import start_traces, traces_fault
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.support.cluster import ROOT, started
from tests.support.collector import collecting

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster

WITHIN = 60
#: Text that must not appear anywhere.
SECRET = "s3cret"


@pytest.mark.slow
def test_a_tick_that_resizes_is_a_trace_and_others_are_none(cluster: Cluster) -> None:
    cluster.worker()
    with collecting() as collector:
        environment = {
            **collector.environment,
            "OTEL_SERVICE_NAME": "my-autoscaler",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRET}",
        }
        daemon = cluster.daemon(max="4", environment=environment)
        cluster.send(20, 0.5)
        started(lambda: collector.named(f"resize {W1}"), within_seconds=WITHIN, what="the first resize")
        started(lambda: len(cluster.ended()) == 20, within_seconds=WITHIN, what="all tasks")
        started(lambda: size(daemon) == 1, within_seconds=WITHIN, what="the shrink")
        resized = len(daemon.events("pool.resized"))
        assert daemon.process.stop() == 0
        ticks, resizes = collector.named("tick"), collector.named(f"resize {W1}")
        headers, bodies = list(collector.headers), b"".join(collector.bodies)
    assert len(resizes) == resized
    assert len(collector.spans) == len(ticks) + len(resizes)
    parents = {one.span: one for one in ticks}
    assert all(parents[one.parent].trace == one.trace for one in resizes)
    assert {one.parent for one in ticks} == {""}
    assert {one.service for one in collector.spans} == {"my-autoscaler"}
    grown = resizes[0].attributes
    assert grown.pop("autoscaler.to") > grown.pop("autoscaler.from") == 1
    assert grown.pop("autoscaler.reason") in set(Reason)
    assert grown == {
        "autoscaler.worker": W1,
        "autoscaler.command": "pool_resize",
        "autoscaler.outcome": "done",
    }
    assert {one["authorization"] for one in headers} == {f"Bearer {SECRET}"}
    assert (SECRET.encode() in bodies, SECRET in daemon.process.log()) == (False, False)


@pytest.mark.slow
def test_a_collector_that_hangs_delays_no_tick_no_resize_and_no_end_and_is_named_once(
    cluster: Cluster,
) -> None:
    cluster.worker()
    with socket.create_server(("127.0.0.1", 0), backlog=50) as hanging:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:{hanging.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        daemon = cluster.daemon(max="4", environment=environment)
        cluster.send(20, 0.5)
        started(lambda: daemon.events("traces.lost"), within_seconds=WITHIN, what="the line")
        started(lambda: len(cluster.ended()) == 20, within_seconds=WITHIN, what="all tasks")
        started(lambda: size(daemon) == 1, within_seconds=WITHIN, what="the shrink")
        assert daemon.process.stop() == 0  # within 6 s, or it would be killed
    (line,) = daemon.events("traces.lost")
    assert line["level"] == "warning"
    assert SECRET not in daemon.process.log()
    assert "Traceback" not in daemon.process.log()


@pytest.mark.slow
def test_without_the_extra_the_variables_are_named_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "without/opentelemetry").mkdir(parents=True)
    (tmp_path / "without/opentelemetry/__init__.py").touch()  # hides what is installed
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "PYTHONPATH": str(tmp_path / "without")}
    daemon = cluster.daemon(environment=environment)
    (line,) = daemon.events("traces.off")
    assert line["why"] == ("the extra otel is not installed; run: pip install 'celery-pool-autoscaler[otel]'")
    assert daemon.process.stop() == 0


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, None),
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER is 'zipkin'; it must be otlp, console or none",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; only http/protobuf can be used",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            None,
        ),
    ],
)
def test_a_variable_that_cannot_be_followed_is_named(environment: dict[str, str], fault: str | None) -> None:
    assert traces_fault(environment) == fault
    if fault is not None:
        found = start_traces(environment, service="x", say=lambda *_: None)
        assert isinstance(found, NoTraces)


def test_what_the_library_refuses_is_said_and_no_trace_is_worth_the_work() -> None:
    code = (
        "import os; from autoscaler.api import start_traces;"
        "print(start_traces(os.environ, service='y', say=print).enabled)"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}
    done = subprocess.run(
        (sys.executable, "-c", code),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=120,
    )
    said = "traces.off {'why': 'ValueError: max_queue_size must be a positive integer.'}\nFalse\n"
    assert (done.returncode, done.stdout) == (0, said)


@pytest.mark.slow
def test_without_the_variables_nothing_of_the_library_is_loaded() -> None:
    code = (
        "import sys, autoscaler.cli.run, autoscaler.api, docservice.cli.main, docservice.http.app;"
        "from autoscaler.api import start_traces;"
        "assert not start_traces({'OTEL_SERVICE_NAME': 'x'}, service='y', say=print).enabled;"
        # redis-py and FastAPI import parts of the library by themselves where it is installed.
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'autoscaler.report.otel');"
        "print([name for name in ours if name in sys.modules])"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
