"""One replay: tasks published at the trace's times to a real worker, and what came of each of them."""

from __future__ import annotations

import math
import random
import time
from contextlib import ExitStack
from itertools import pairwise
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import psutil
from celery import Celery
from redis import Redis

from autoscaler.companion import stamp_published
from autoscaler.demo.embedded import RedisServer, wait_until
from autoscaler.simulation.engine import ReplayResult
from autoscaler.simulation.traces import Trace
from tests.replay.contenders import PREFETCH
from tests.replay.tasks import BIRTHS, ENDS, STARTS, TASK
from tests.support.cluster import Cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.replay.contenders import Contender

QUEUE = "celery"
_SAMPLE_SECONDS = 0.05
#: How long the tasks may take to end after the last was published, beyond the work there is.
_PATIENCE_SECONDS = 30.0


def compress(trace: Trace, *, seconds: float, speed: float, most_busy: float, seed: int = 0) -> Trace:
    """``seconds * speed`` of a trace, run ``speed`` times as fast: the part whose work is nearest the mean.

    Tasks are left out at random until no more than ``most_busy`` processes are busy on average.
    """
    window = seconds * speed
    start = _typical_start(trace, window)
    chosen = [
        (arrival - start, service)
        for arrival, service in zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
        if start <= arrival < start + window
    ]
    busy = sum(service for _, service in chosen) / window
    rng = random.Random(seed)
    kept = [task for task in chosen if rng.random() * busy <= most_busy] or chosen[:1]
    return Trace(
        name=f"{trace.name}, {window:.0f} s at {speed:g} times the speed",
        arrivals_seconds=[arrival / speed for arrival, _ in kept],
        services_seconds=[service / speed for _, service in kept],
        duration_seconds=seconds,
    )


def _typical_start(trace: Trace, window: float) -> float:
    """Where the window begins whose work is nearest to the mean of all windows; it has a task."""
    work: dict[int, float] = {}
    for arrival, service in zip(trace.arrivals_seconds, trace.services_seconds, strict=True):
        work[int(arrival / window)] = work.get(int(arrival / window), 0.0) + service
    mean = sum(work.values()) / max(1.0, trace.duration_seconds / window)
    return window * min(sorted(work), key=lambda index: abs(work[index] - mean))


class _Watch:
    """Samples what is paid for: the worker's children that live, and the tasks that wait."""

    def __init__(self, worker_pid: int, url: str, begun: float) -> None:
        self._worker = psutil.Process(worker_pid)
        self._redis = Redis.from_url(url)
        self._begun = begun
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.samples: list[tuple[float, int, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._redis.close()

    def _run(self) -> None:
        while True:
            at = time.monotonic() - self._begun
            alive = sum(_lives(child) for child in self._worker.children())
            self.samples.append((at, int(self._redis.llen(QUEUE)), alive))
            if self._stop.wait(_SAMPLE_SECONDS):
                return


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def replay(folder: Path, trace: Trace, contender: Contender) -> ReplayResult:
    """Publish the trace to a worker of its own and return what really happened.

    A task that never started has waited for ever. The processes at the begin are not counted as started.
    """
    with RedisServer(folder / "redis") as server, ExitStack() as stack:
        cluster = Cluster(folder=folder, stack=stack, server=server)
        worker = cluster.worker(
            "w1@replay",
            "-I",
            "autoscaler.companion,tests.replay.tasks",
            "-Ofair",
            *contender.options,
            processes=contender.processes,
            companion=False,  # it is among those loaded above
            PREFETCH=str(PREFETCH),
            **contender.environment,  # type: ignore[arg-type]
        )
        if contender.daemon is not None:
            cluster.daemon(**contender.daemon)  # type: ignore[arg-type]
        ledger = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        wait_until(
            lambda: _count(ledger, BIRTHS) >= contender.processes,
            within_seconds=30,
            what="the birth of the first processes",
        )
        born = _count(ledger, BIRTHS)
        begun = time.monotonic()
        with _Watch(worker.pid, server.url, begun) as watch:
            published = _publish(server.url, trace, begun)
            _await_end(ledger, trace)
            time.sleep(max(0.0, begun + trace.duration_seconds - time.monotonic()))
        starts = dict(_start(str(line)) for line in ledger.lrange(STARTS, 0, -1))
        waits = [max(0.0, starts.get(number, math.inf) - sent) for number, sent in enumerate(published)]
        return _outcome(contender.name, trace, waits, watch.samples, _count(ledger, BIRTHS) - born)


def _count(ledger: Redis, key: str) -> int:
    return int(str(ledger.get(key) or 0))


def _start(line: str) -> tuple[int, float]:
    number, at = line.split()
    return int(number), float(at)


def _publish(url: str, trace: Trace, begun: float) -> list[float]:
    """Send each task at its time; the times at which they really went out."""
    stamp_published()
    app = Celery("publisher", broker=url, set_as_current=False)
    published = []
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        tasks = zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
        for number, (arrival, service) in enumerate(tasks):
            time.sleep(max(0.0, begun + arrival - time.monotonic()))
            published.append(time.monotonic())
            app.send_task(TASK, args=[number, service], queue=QUEUE, producer=producer, ignore_result=True)
    app.close()
    return published


def _await_end(ledger: Redis, trace: Trace) -> None:
    """Return when all tasks have ended, or when no more can be expected to."""
    deadline = time.monotonic() + _PATIENCE_SECONDS + max(trace.services_seconds)
    ended = -1
    while (now_ended := int(ledger.llen(ENDS))) < len(trace.arrivals_seconds) and time.monotonic() < deadline:
        if now_ended > ended:
            ended, deadline = now_ended, time.monotonic() + _PATIENCE_SECONDS + max(trace.services_seconds)
        time.sleep(_SAMPLE_SECONDS)


def _outcome(
    name: str, trace: Trace, waits: list[float], samples: list[tuple[float, int, int]], born: int
) -> ReplayResult:
    sizes = [size for _, _, size in samples]
    return ReplayResult(
        scaler=name,
        waits_seconds=waits,
        work_seconds=sum(trace.services_seconds),
        process_seconds=sum((later[0] - earlier[0]) * earlier[2] for earlier, later in pairwise(samples)),
        starts=born,
        changes=sum(earlier != later for earlier, later in pairwise(sizes)),
        peak_processes=max(sizes),
        timeline=samples,
    )
