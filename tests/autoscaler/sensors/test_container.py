"""The container of one worker, as it is known from outside: stated, from files, from its process."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import ContainerReading
from autoscaler.demo.embedded import Process, wait_until
from autoscaler.sensors.container import (
    ContainerSensor,
    ContainerSettings,
    choose_worker,
    container_reading,
    find_worker_pid,
    is_worker,
    overlay,
    parse_limit,
)
from autoscaler.worker.cgroup import read_cgroup
from tests.support.builders import container

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A process with two children that all hold some memory, and that says when they are there.
PARENT = """
import subprocess, sys, time
nap = "data = bytearray(20_000_000); print(1, flush=True); import time; time.sleep(60)"
children = [subprocess.Popen([sys.executable, "-c", nap], stdout=subprocess.PIPE) for _ in range(2)]
[child.stdout.readline() for child in children]
print("ready", flush=True)
time.sleep(60)
"""


def both(cpu, memory):
    return ContainerReading(
        cpu_limit_cores=cpu,
        cpu_limited=cpu is not None,
        memory_limit_bytes=memory,
        memory_limited=memory is not None,
    )


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Process]:
    with Process((sys.executable, "-c", PARENT), log_path=tmp_path / "log") as parent:
        try:
            parent.wait_until(lambda: "ready" in parent.log(), within_seconds=30, what="its children")
            yield parent
        finally:
            parent.kill()


# Limits


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1500", 1500),
        (" 1500\n", 1500),
        ("0010", 10),
        ("0", None),
        ("-5", None),
        ("", None),
        ("1.5", None),
        ("max", None),
        ("١٢", None),
        ("1 2", None),
        pytest.param("9" * 5000, None, id="more digits than a number has"),
    ],
)
def test_a_limit_is_a_whole_number_above_zero(text, limit):
    assert parse_limit(text) == limit


@given(st.text(max_size=30))
def test_a_limit_of_junk_is_unknown_and_never_raises(text):
    found = parse_limit(text)
    assert found is None or found > 0


REPORTED = container(
    cpu_limit_cores=8.0,
    cpu_usage_seconds=3.0,
    throttled_seconds=0.5,
    memory_limit_bytes=900,
    memory_used_bytes=100,
    parent_rss_bytes=10,
    child_rss_bytes=(5, 6),
)


@pytest.mark.parametrize(
    ("stated", "reported", "expected"),
    [
        pytest.param(None, None, None, id="nobody knows anything"),
        pytest.param(None, REPORTED, REPORTED, id="nothing is stated"),
        pytest.param(both(2.0, None), None, both(2.0, None), id="nothing is reported"),
        pytest.param(ContainerReading(), REPORTED, REPORTED, id="nothing is known of what is stated"),
        pytest.param(
            both(2.0, None),
            REPORTED,
            REPORTED._replace(cpu_limit_cores=2.0, cpu_limited=True),
            id="CPU alone is stated",
        ),
        pytest.param(
            both(None, 700),
            REPORTED,
            REPORTED._replace(memory_limit_bytes=700, memory_limited=True, memory_limit_stated=True),
            id="memory alone is stated",
        ),
        pytest.param(
            container(memory_used_bytes=0, child_rss_bytes=(1,), cpu_usage_seconds=0.0),
            REPORTED,
            REPORTED._replace(memory_used_bytes=0, child_rss_bytes=(1,), cpu_usage_seconds=0.0),
            id="a zero is known",
        ),
    ],
)
def test_what_is_stated_lies_over_what_is_reported(stated, reported, expected):
    assert overlay(stated, reported) == expected


def test_stated_values_are_limits():
    sensor = ContainerSensor(ContainerSettings(cpu_limit_cores=1.5, memory_limit_bytes=2**30))
    assert sensor.read() == both(1.5, 2**30)


def test_nothing_stated_is_nothing_known():
    assert ContainerSensor(ContainerSettings()).read() is None


def test_files_of_the_downward_api_are_millicores_and_bytes_and_read_each_time(tmp_path):
    sensor = ContainerSensor(ContainerSettings(limits_folder=tmp_path))
    assert sensor.read() is None
    (tmp_path / "cpu_limit").write_text("1500")
    assert sensor.read() == both(1.5, None)
    (tmp_path / "memory_limit").write_text("536870912\n")
    assert sensor.read() == both(1.5, 2**29)
    (tmp_path / "cpu_limit").write_text("3000")
    assert sensor.read() == both(3.0, 2**29)


def test_a_file_that_cannot_be_read_any_more_keeps_its_last_value(tmp_path):
    sensor = ContainerSensor(ContainerSettings(limits_folder=tmp_path))
    (tmp_path / "cpu_limit").write_text("1500")
    (tmp_path / "memory_limit").write_text("4096")
    sensor.read()
    (tmp_path / "cpu_limit").write_bytes(b"\xff")
    (tmp_path / "memory_limit").unlink()
    assert sensor.read() == both(1.5, 4096)


def test_a_stated_value_comes_before_a_file(tmp_path):
    (tmp_path / "cpu_limit").write_text("8000")
    (tmp_path / "memory_limit").write_text("4096")
    sensor = ContainerSensor(ContainerSettings(cpu_limit_cores=2.0, limits_folder=tmp_path))
    assert sensor.read() == both(2.0, 4096)


# The process


def test_a_pid_gives_its_groups_and_the_memory_of_its_children(family):
    found = ContainerSensor(ContainerSettings(worker_pid=family.pid)).read()
    groups = read_cgroup(family.pid)
    assert (found.cpu_limit_cores, found.memory_limit_bytes) == (
        groups.cpu_limit_cores,
        groups.memory_limit_bytes,
    )
    assert found.parent_rss_bytes > 2_000_000
    assert [size > 20_000_000 for size in found.child_rss_bytes] == [True, True]


def test_stated_limits_lie_over_those_of_the_process(family):
    found = ContainerSensor(ContainerSettings(worker_pid=family.pid, cpu_limit_cores=0.5)).read()
    assert (found.cpu_limit_cores, found.cpu_limited, len(found.child_rss_bytes)) == (0.5, True, 2)


def test_a_process_that_is_gone_keeps_its_limits_and_has_no_children(family):
    sensor = ContainerSensor(ContainerSettings(worker_pid=family.pid))
    before = sensor.read()
    family.kill()
    found = sensor.read()
    assert (found.cpu_limit_cores, found.memory_limit_bytes) == (
        before.cpu_limit_cores,
        before.memory_limit_bytes,
    )
    assert (found.parent_rss_bytes, found.child_rss_bytes) == (None, ())


# Which one is the worker


@pytest.mark.parametrize(
    ("command", "worker"),
    [
        ("python3 /usr/bin/celery -A app worker -c 2", True),
        ("/venv/bin/python /venv/bin/celery --app=app worker", True),
        ("python3.12 -m celery -A app worker", True),
        ("python -u -X dev -m celery -A app worker", True),
        ("pypy3 -m celery worker", True),
        ("tini -- celery -A app worker", False),
        ("uv run celery -A app worker", False),
        ("/bin/sh /start celery -A app worker", False),
        ("python /venv/bin/watchmedo auto-restart -- celery -A app worker", False),
        ("python -m celery -A app beat", False),
        ("python -m autoscaler run --queue celery --queue worker", False),
        ("celery", False),
        ("", False),
    ],
)
def test_a_worker_is_known_by_its_own_command_line_and_not_by_its_starters(command, worker):
    assert is_worker(command.split()) is worker


WORKER = ["python", "-m", "celery", "-A", "app", "worker"]


@pytest.mark.parametrize(
    ("processes", "chosen"),
    [
        pytest.param([(7, 1, WORKER)], 7, id="one without children"),
        pytest.param([(9, 7, WORKER), (7, 1, WORKER), (8, 7, WORKER)], 7, id="one with a pool"),
        pytest.param([(1, 0, ["tini", "--", *WORKER]), (7, 1, WORKER), (5, 0, [])], 7, id="behind an init"),
        pytest.param([], "0 Celery workers", id="none"),
        pytest.param([(7, 1, WORKER), (8, 1, WORKER), (9, 8, WORKER)], "2 Celery workers", id="two"),
    ],
)
def test_the_one_worker_is_chosen(processes, chosen):
    if isinstance(chosen, int):
        assert choose_worker(processes) == chosen
        return
    with pytest.raises(LookupError) as caught:
        choose_worker(processes)
    assert str(caught.value) == (
        f"{chosen} are visible from here, and one is needed; share the process namespace with the worker's"
        " container alone, or give --worker-pid a number"
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Starts what looks like ``celery -A app worker`` with two pool processes, behind a small init."""
    script = tmp_path / "celery"
    script.write_text(
        "import os, time\n"
        "children = [pid for _ in range(2) if (pid := os.fork()) or time.sleep(60)]\n"
        "print(os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    init = tmp_path / "tini"
    init.write_text('#!/bin/sh\n"$@"\nexit 0\n')
    init.chmod(0o700)
    with ExitStack() as stack:

        def start_one(name: str) -> Process:
            words = (init, sys.executable, script, "-A", "app", "worker")
            one = stack.enter_context(Process(words, log_path=tmp_path / name))
            stack.callback(one.kill)
            one.wait_until(lambda: one.log().strip(), within_seconds=20, what="the worker")
            return one

        yield start_one


def seen(*roots: Process):
    family = [one for root in roots for one in psutil.Process(root.pid).children(recursive=True)]
    family += [psutil.Process(root.pid) for root in roots]
    return [(one.pid, one.ppid(), one.cmdline()) for one in family]


def test_a_real_worker_is_chosen_behind_its_init_and_among_its_children(start):
    first = start("first")
    assert len(seen(first)) == 4
    assert choose_worker(seen(first)) == int(first.log())
    with pytest.raises(LookupError, match=r"^2 Celery workers"):
        choose_worker(seen(first, start("second")))


@pytest.mark.slow
def test_a_worker_is_found_when_it_comes_lost_when_it_goes_and_found_again(start):
    running: list[Process] = []
    source = ContainerSettings(worker_pid="auto")
    sensor = ContainerSensor(source, find_worker=lambda: choose_worker(seen(*running)))
    assert sensor.read() is None
    for name in ("first", "second"):
        running.append(start(name))
        assert len(sensor.read().child_rss_bytes) == 2
        running.pop().kill()
        wait_until(lambda: sensor.read() is None, within_seconds=10, what="its end")


def test_the_processes_of_this_machine_are_looked_through(start):
    """Workers of others may run here too: then it says how many there are."""
    pid = int(start("one").log())
    try:
        found = find_worker_pid()
    except LookupError as fault:
        found = str(fault)
    assert found == pid or re.match(r"([2-9]|[1-9]\d+) Celery workers are visible", str(found))


REPORT = {
    "container": {
        "cpu_limit_cores": 1.5,
        "cpu_limited": True,
        "cpu_usage_seconds": 9.5,
        "throttled_seconds": 0.5,
        "memory_limit_bytes": 1000,
        "memory_limited": True,
        "memory_used_bytes": 700,
        "oom_kills": 2,
        "memory_failcnt": 5,
        "memory_pressure": 0.25,
        "container_id": "1f2e",
    },
    "parent_rss_bytes": 100,
    "child_rss_bytes": [200, 300],
    "child_peak_bytes": {"max": 400, "p50": 250, "p95": 390, "children": 7},
    "child_shared_bytes": 50,
    "worker_memory_bytes": 550,
    "memory_shared": False,
}


def test_the_containers_part_of_a_report_becomes_a_reading():
    assert container_reading(REPORT) == ContainerReading(
        cpu_limit_cores=1.5,
        cpu_limited=True,
        cpu_usage_seconds=9.5,
        throttled_seconds=0.5,
        memory_limit_bytes=1000,
        memory_limited=True,
        memory_used_bytes=700,
        parent_rss_bytes=100,
        child_rss_bytes=(200, 300),
        child_peak_bytes=400,
        child_peak_p95_bytes=390,
        child_shared_bytes=50,
        worker_memory_bytes=550,
        memory_shared=False,
        oom_kills=2,
        memory_failcnt=5,
        memory_pressure=0.25,
        container_id="1f2e",
    )


def test_a_report_of_an_older_companion_leaves_what_it_lacks_unknown():
    assert container_reading({}) == ContainerReading()


JUNK = st.sampled_from([None, "x", -1, True, [], {}, float("nan"), float("inf"), 10**400, "1" * 1000])


@given(data=st.data())
def test_junk_in_a_report_is_unknown_and_never_raises(data):
    report = {**REPORT, **{name: dict(REPORT[name]) for name in ("container", "child_peak_bytes")}}
    for part in (report, report["container"], report["child_peak_bytes"]):
        part.update({name: data.draw(JUNK) for name in data.draw(st.sets(st.sampled_from(sorted(part))))})
    reading = container_reading(report)
    for name in ("memory_limit_bytes", "child_peak_bytes", "oom_kills", "worker_memory_bytes"):
        value = getattr(reading, name)
        assert value is None or (isinstance(value, int) and value >= 0)
    assert reading.memory_shared in {None, True, False}
    assert reading.container_id is None or len(reading.container_id) <= 64
