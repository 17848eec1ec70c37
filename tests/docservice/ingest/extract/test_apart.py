"""Work in a child process: what it sends comes, and however it ends, this process goes on."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from autoscaler.demo.embedded import wait_until
from docservice.ingest.extract.apart import Crashed, Killed, in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def received(work: Callable[[], Iterator[Any]]) -> list[Any]:
    with in_child(work) as child:
        return list(child.receive(lambda: True))


def test_what_the_child_sends_comes_in_order() -> None:
    def work() -> Iterator[Any]:
        yield {"text": "ü\nb\ud800"}
        yield from range(10_000)

    assert received(work) == [{"text": "ü\nb\ud800"}, *range(10_000)]


def segfault() -> None:
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("ends", "how"),
    [
        (segfault, "SIGSEGV"),
        (os.abort, "SIGABRT"),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "SIGBUS"),
        (lambda: sys.exit(3), "exit code 1"),
        (lambda: os._exit(3), "exit code 3"),
    ],
)
def test_a_child_that_crashes_is_named_after_what_it_sent(ends: Callable[[], object], how: str) -> None:
    def work() -> Iterator[Any]:
        yield os.getpid()
        ends()

    with in_child(work) as child:
        items = child.receive(lambda: True)
        pid = next(items)
        with pytest.raises(Crashed) as crashed:
            next(items)
    assert (str(crashed.value), psutil.pid_exists(pid)) == (how, False)


def test_a_child_that_another_kills_is_no_crash() -> None:
    def work() -> Iterator[Any]:
        yield os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(Killed):
        received(work)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_all_processes_of_a_worker_is_no_crash_of_the_child(number: signal.Signals) -> None:
    def work() -> Iterator[Any]:
        os.kill(os.getpid(), number)
        yield "read"

    assert received(work) == ["read"]


def test_the_limit_on_memory_holds_for_the_child() -> None:
    def work() -> Iterator[Any]:
        resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29))
        yield len(bytearray(2**31))

    with pytest.raises(MemoryError):
        received(work)


def test_a_child_that_loops_ends_with_the_wait_for_it() -> None:
    def work() -> Iterator[Any]:
        yield os.getpid()
        while True:
            pass

    asked = iter([True, False])
    with in_child(work) as child:
        [pid] = child.receive(lambda: next(asked), every_seconds=60)
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_the_child_has_no_connection_of_its_parent() -> None:
    with socket.socket() as held:
        number = held.fileno()

        def work() -> Iterator[Any]:
            yield Path(f"/proc/self/fd/{number}").exists()

        assert received(work) == [False]


ORPHAN = """
import time
from docservice.ingest.extract.apart import in_child
def work():
    import os
    yield os.getpid()
    while True: pass
with in_child(work) as child:
    for pid in child.receive(lambda: True):
        print(pid, flush=True)
"""


def test_the_child_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    wait_until(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
        within_seconds=60,
        what="the child's end",
    )


def test_a_long_line_is_put_together() -> None:
    begun = time.process_time()
    assert received(lambda: iter(["x" * 5_000_000])) == ["x" * 5_000_000]
    assert time.process_time() - begun < 5
