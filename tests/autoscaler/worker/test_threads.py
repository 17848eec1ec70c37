"""The pool of threads: the executor by itself, and in real workers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from autoscaler.demo.embedded import wait_until
from autoscaler.worker.threads import ResizableExecutor
from tests.support.worker_bench import (
    COMPANION,
    LEGAL,
    MakeBench,
    await_true,
    hold,
    let_go,
    resize,
    runs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = (*COMPANION, "-P", "threads")


class Gate:
    """Jobs that run until they are let go."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.running: set[str] = set()

    def hold(self, key: str) -> str:
        with self._lock:
            self.running.add(key)
        assert self._open.wait(60)
        with self._lock:
            self.running.discard(key)
        return key

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def make_executor() -> Iterator[Callable[[int], ResizableExecutor]]:
    made: list[ResizableExecutor] = []

    def make(size: int) -> ResizableExecutor:
        made.append(ResizableExecutor(size))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)


def await_count(executor: ResizableExecutor, threads: int) -> None:
    wait_until(
        lambda: len(executor._threads) == threads, within_seconds=20, what=f"{threads} threads of the pool"
    )


def await_running(gate: Gate, *keys: str) -> None:
    wait_until(lambda: gate.running == set(keys), within_seconds=20, what=f"the start of {keys}")


def test_queued_jobs_start_at_once_when_the_pool_grows(make_executor) -> None:
    executor, gate = make_executor(1), Gate()
    futures = [executor.submit(gate.hold, key) for key in "abc"]
    await_running(gate, "a")
    executor.resize(3)
    await_running(gate, "a", "b", "c")
    gate.open()
    assert [future.result(20) for future in futures] == ["a", "b", "c"]


def test_idle_threads_end_when_the_pool_shrinks(make_executor) -> None:
    executor, gate = make_executor(3), Gate()
    for key in "abc":
        executor.submit(gate.hold, key)
    await_running(gate, "a", "b", "c")
    gate.open()
    await_running(gate)
    executor.resize(1)
    await_count(executor, 1)
    assert executor.submit(len, "four").result(20) == 4


def test_a_busy_thread_ends_after_its_job_and_queued_jobs_stay(make_executor) -> None:
    executor, gate = make_executor(3), Gate()
    held = [executor.submit(gate.hold, key) for key in "abc"]
    await_running(gate, "a", "b", "c")
    queued = [executor.submit(len, "x" * number) for number in range(5)]
    executor.resize(1)
    assert len(executor._threads) == 3
    gate.open()
    assert [future.result(20) for future in held] == ["a", "b", "c"]
    assert [future.result(20) for future in queued] == [0, 1, 2, 3, 4]
    await_count(executor, 1)


def test_no_more_threads_start_than_there_are_jobs(make_executor) -> None:
    executor = make_executor(50)
    assert [executor.submit(len, "ab").result(20) for _ in range(20)] == [2] * 20
    assert len(executor._threads) <= 20


def test_a_failed_job_is_its_futures_and_the_thread_works_on(make_executor) -> None:
    executor = make_executor(1)
    with pytest.raises(SystemExit):
        executor.submit(sys.exit, 3).result(20)
    assert executor.submit(len, "ab").result(20) == 2


def test_shutdown_waits_for_what_runs_and_cancels_what_waits(make_executor) -> None:
    executor, gate = make_executor(1), Gate()
    held, queued = executor.submit(gate.hold, "a"), executor.submit(len, "ab")
    await_running(gate, "a")
    closing = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
    closing.start()
    with pytest.raises(CancelledError):
        queued.result(20)
    gate.open()
    closing.join(20)
    assert (held.result(0), closing.is_alive()) == ("a", False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(len, "ab")


def test_an_idle_pool_does_not_keep_a_program_from_ending() -> None:
    code = (
        "from autoscaler.worker.threads import ResizableExecutor as E;"
        "e = E(2); print(e.submit(len, 'ab').result(), flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.slow
def test_a_real_pool_of_threads_resizes_and_loses_nothing(make_bench: MakeBench) -> None:
    bench = make_bench(options=THREADS)
    for number in range(60):
        bench.app.send_task("churn.work", (number, 0.05))
    for size in (1, 8, 2, 5, 1, 4):
        assert resize(bench, size)["size"] == size
    await_true(lambda: bench.ledger.hlen("ends") == 60, "the end of all tasks")
    assert set(bench.ledger.hvals("starts")) == {"1"}
    assert bench.ask("pool_resize", size=0) == {"error": f"pool_resize: size is 0; {LEGAL}"}
    await_true(lambda: bench.report()["busy"] == 0, "the count of the last task")
    report = bench.report()
    kept = ("pool", "refusal", "size", "ready", "retiring", "busy", "reserved", "completed", "prefetch")
    assert {key: report[key] for key in kept} == {
        "pool": "threads",
        "refusal": None,
        "size": 4,
        "ready": 4,
        "retiring": 0,
        "busy": 0,
        "reserved": 0,
        "completed": 60,
        "prefetch": 4,
    }
    assert bench.ask("stats")["pool"]["max-concurrency"] == 4


@pytest.mark.slow
def test_busy_threads_of_a_real_pool_end_their_tasks_and_count_as_retiring(make_bench: MakeBench) -> None:
    bench = make_bench(options=THREADS)
    hold(bench, "a", "b", "c")
    assert resize(bench, 1) == {"size": 1, "was": 3, "retiring": 2}
    assert bench.report()["retiring"] == 2
    let_go(bench, "a", "b", "c")
    await_true(lambda: bench.ask("stats")["pool"]["threads"] == 1, "the end of two threads")
    assert runs(bench, "a", "b", "c") == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


@pytest.mark.slow
def test_warm_shutdown_waits_for_busy_threads(make_bench: MakeBench) -> None:
    bench = make_bench(options=THREADS)
    hold(bench, "a")
    bench.worker.send(signal.SIGTERM)
    bench.worker.wait_until(
        lambda: "Warm shutdown" in bench.worker.log(), within_seconds=20, what="the shutdown"
    )
    let_go(bench, "a")
    assert bench.worker.wait(within_seconds=40) == 0
    assert runs(bench, "a") == {"a": (1, 1)}
