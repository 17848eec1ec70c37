"""Real worker processes as pods, an HPA loop that asks the scaler over gRPC, and the autoscaler in each pod.

    uv run python -m tests.replay.pods                  a burst, then steady tasks; about 5 minutes
    uv run python -m tests.replay.pods --prefetch 4     with Celery's own prefetch multiplier

A pod is a worker and its sidecar. It leaves as in Kubernetes: drained by its preStop hook, then SIGTERM, and
SIGKILL after the grace period. The loop computes as the HPA does (the answer over what one worker holds, a
tolerance of 10 %), with shorter windows. Run it on a quiet machine: what else runs is in the waits.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import grpc
from celery import Celery

from autoscaler.companion import stamp_published
from autoscaler.demo.embedded import Process, RedisServer, free_port
from autoscaler.keda.messages import METHODS, SERVICE
from tests.replay.tasks import ENDS, STARTS, TASK
from tests.support.cluster import ROOT, Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TARGET_SECONDS = 5.0
GRACE_SECONDS = 30.0
BURST = 240
#: HPA's own: no change for less than this share.
_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The HPA's windows, in seconds: shorter than in production, in the same order."""

    sync: float = 5.0
    scale_up: float = 5.0
    scale_down: float = 30.0
    scale_down_every: float = 20.0


@dataclass(slots=True)
class Pod:
    """One worker and its sidecar."""

    name: str
    worker: Process
    sidecar: Process
    started_at: float
    stopped_at: float | None = None


@dataclass(slots=True)
class Fleet:
    """The pods on one broker, and what happened to them."""

    cluster: Cluster
    max_processes: int
    prefetch: int
    pods: list[Pod] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    begun: float = 0.0
    _stopping: list[Thread] = field(default_factory=list)

    @property
    def live(self) -> list[Pod]:
        """The pods that are not leaving: the replicas."""
        return [pod for pod in self.pods if pod.stopped_at is None]

    def start(self) -> None:
        """Start a pod; its worker takes tasks a little later."""
        name = f"w{len(self.pods)}@pod"
        worker = self.cluster.worker(
            name,
            "-I",
            "autoscaler.companion,tests.replay.tasks",
            companion=False,
            wait=False,
            PREFETCH=str(self.prefetch),
            SETTINGS=json.dumps({"task_acks_late": True, "task_reject_on_worker_lost": True}),
        )
        words = ("--worker", name, "--max", str(self.max_processes), "--listen", f"127.0.0.1:{free_port()}")
        sidecar = self.cluster.stack.enter_context(
            Process(
                (sys.executable, "-m", "autoscaler", "run", *words, "--interval", "1"),
                log_path=self.cluster.folder / f"sidecar-{len(self.pods)}.log",
                environment={"REDIS_URL": self.cluster.server.url, "AUTOSCALER_TARGET_WAIT": "5s"},
                working_folder=ROOT,
            )
        )
        self.pods.append(Pod(name, worker, sidecar, time.monotonic()))
        self._note(f"start {name}")

    def stop(self, pod: Pod) -> None:
        """Let a pod leave, in the background."""
        pod.stopped_at = time.monotonic()
        self._note(f"stop {pod.name}")
        thread = Thread(target=self._leave, args=(pod,), daemon=True)
        thread.start()
        self._stopping.append(thread)

    def _leave(self, pod: Pod) -> None:
        begun = time.monotonic()
        words = ("drain", "--force", "--deadline", str(int(GRACE_SECONDS - 5)), pod.name)
        with (self.cluster.folder / f"drain-{pod.name}.log").open("wb") as log, suppress(TimeoutExpired):
            subprocess.run(
                (sys.executable, "-m", "autoscaler", *words),
                env={**os.environ, "REDIS_URL": self.cluster.server.url},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                timeout=GRACE_SECONDS,
                check=False,
            )
        pod.worker.send(signal.SIGTERM)
        left = max(1.0, GRACE_SECONDS - (time.monotonic() - begun))
        try:
            pod.worker.wait(within_seconds=left)
            self._note(f"left {pod.name}")
        except TimeoutError:
            pod.worker.send(signal.SIGKILL)
            self._note(f"killed {pod.name}")
        pod.sidecar.send(signal.SIGTERM)

    def settle(self) -> None:
        """Wait for the pods that leave."""
        for thread in self._stopping:
            thread.join(GRACE_SECONDS * 2)

    def _note(self, what: str) -> None:
        self.events.append((time.monotonic() - self.begun, what))


class Asked:
    """The scaler's answer, as KEDA gives it to the HPA, and from its page what that was made of."""

    def __init__(self, port: int, page: int, per_worker: int) -> None:
        self._page = f"http://127.0.0.1:{page}/status"
        method = METHODS["GetMetrics"]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._ask = self._channel.unary_unary(
            f"/{SERVICE}/GetMetrics",
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        metadata = {"queue": "celery", "processesPerWorker": str(per_worker), "scaleIn": "spare"}
        reference = METHODS["IsActive"].request(name="worker", namespace="pods", scalerMetadata=metadata)
        self._request = method.request(scaledObjectRef=reference)

    def processes(self) -> int | None:
        """The processes that the work needs, None where the scaler cannot say."""
        try:
            (value,) = self._ask(self._request, timeout=10).metricValues
        except grpc.RpcError:
            return None
        return int(value.metricValue)

    def why(self) -> str:
        """The inputs of the last answer, as the page has them."""
        with urllib.request.urlopen(self._page, timeout=5) as answer:
            (one,) = json.load(answer)["keda"]
        return " ".join(f"{name}={value}" for name, value in one.items() if not isinstance(value, str))


def autoscale(
    fleet: Fleet, asked: Asked, windows: Windows, pods: tuple[int, int], is_over: Callable[[], bool]
) -> None:
    """The HPA's loop: the highest recommendation of the window down, the lowest of the window up.

    In the main thread: a process dies with the thread that started it.
    """
    recommended: list[tuple[float, int]] = []
    last_down = -math.inf
    rng = random.Random(0)  # which pod goes is anybody's guess, as in Kubernetes
    while not is_over():
        time.sleep(windows.sync)
        now, live = time.monotonic(), fleet.live
        processes = asked.processes()
        if processes is None:
            continue
        fleet.answers.append(f"{now - fleet.begun:6.1f} {processes} for {len(live)} pods: {asked.why()}")
        ratio = processes / (fleet.max_processes * len(live))
        wanted = len(live) if abs(ratio - 1) <= _TOLERANCE else math.ceil(processes / fleet.max_processes)
        wanted = min(pods[1], max(pods[0], wanted))
        recommended = [(at, size) for at, size in recommended if now - at <= windows.scale_down]
        recommended.append((now, wanted))
        up = min(size for at, size in recommended if now - at <= windows.scale_up)
        down = max(size for _, size in recommended)
        for _ in range(up - len(live)):
            fleet.start()
        if down < len(live) and now - last_down >= windows.scale_down_every:
            last_down = now
            fleet.stop(rng.choice(live))


def publish(url: str, steady_seconds: float, sent: list[tuple[float, float]], over: Event) -> None:
    """240 tasks of 2 s at once, then one of 8 s each 4 s; when each was published, and how long it runs."""
    app = Celery("publisher", broker=url, set_as_current=False)
    stamp_published()

    def send(seconds: float) -> None:
        sent.append((time.monotonic(), seconds))
        app.send_task(TASK, args=[len(sent) - 1, seconds], queue="celery", ignore_result=True)

    for _ in range(BURST):
        send(2.0)
    begun = time.monotonic()
    for number in range(int(steady_seconds / 4)):
        time.sleep(max(0.0, begun + 4 * number - time.monotonic()))
        send(8.0)
    app.close()
    over.set()


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run; what came of it."""
    with RedisServer(folder / "redis") as server, ExitStack() as stack:
        cluster = Cluster(folder=folder, stack=stack, server=server)
        fleet = Fleet(cluster, options.max, options.prefetch, begun=time.monotonic())
        fleet.start()
        pod = fleet.pods[0]
        pod.worker.wait_until(lambda: "ready." in pod.worker.log(), within_seconds=60, what="the first pod")
        asked = Asked(*_scaler(cluster), options.max)
        fleet.begun = time.monotonic()
        sent: list[tuple[float, float]] = []
        over, client = Event(), cluster.redis
        Thread(target=publish, args=(server.url, options.steady, sent, over), daemon=True).start()
        deadline = fleet.begun + options.steady + 240

        def is_over() -> bool:
            ended = over.is_set() and client.llen(ENDS) >= len(sent)
            return ended or time.monotonic() > deadline

        autoscale(fleet, asked, Windows(), (1, options.pods), is_over)
        fleet.settle()
        return outcome(fleet, sent, dict(_starts(client.lrange(STARTS, 0, -1))), client.lrange(ENDS, 0, -1))


def _scaler(cluster: Cluster) -> tuple[int, int]:
    """Its port and that of its page."""
    port, page = free_port(), free_port()
    listen = ("--keda-listen", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{page}")
    process = cluster.stack.enter_context(
        Process(
            (sys.executable, "-m", "autoscaler", "keda", *listen),
            log_path=cluster.folder / "keda.log",
            environment={"REDIS_URL": cluster.server.url, "AUTOSCALER_TARGET_WAIT": "5s"},
            working_folder=ROOT,
        )
    )
    process.wait_until(lambda: "keda.started" in process.log(), within_seconds=60, what="the scaler's start")
    return port, page


def _starts(lines: list[bytes]) -> Iterator[tuple[int, float]]:
    for line in reversed(lines):  # of a task that ran twice the first start counts
        number, at = line.split()
        yield int(number), float(at)


def outcome(
    fleet: Fleet, sent: list[tuple[float, float]], starts: dict[int, float], ends: list[bytes]
) -> dict[str, Any]:
    """The figures of one run. A pod is started again where it starts within a minute of a scale-in."""
    waits = {number: starts[number] - at for number, (at, _) in enumerate(sent) if number in starts}
    # What is sent while the burst still waits stands behind it: no number of processes starts that in time.
    over = max((starts[number] for number in range(BURST) if number in starts), default=0.0)
    steady = {n: wait for n, wait in waits.items() if n >= BURST and sent[n][0] >= over}
    ordered = sorted(steady.values())
    numbers = [int(end) for end in ends]
    stops = [at for at, what in fleet.events if what.startswith("stop")]
    again = [
        at
        for at, what in fleet.events
        if what.startswith("start") and any(0 <= at - stopped <= 60 for stopped in stops)
    ]
    return {
        "tasks": len(sent),
        "done": len(set(numbers)),
        "lost": len(sent) - len(set(numbers)),
        "twice": len(numbers) - len(set(numbers)),
        "behind_the_burst": len(waits) - BURST - len(steady),
        "burst_over_seconds": round(over - fleet.begun, 1),
        "steady_tasks": len(steady),
        "steady_within_target": sum(wait <= TARGET_SECONDS for wait in ordered),
        "steady_p95_seconds": round(ordered[int(0.95 * (len(ordered) - 1))], 1) if ordered else None,
        "late": [
            f"{sent[number][0] - fleet.begun:6.1f} waited {wait:.1f} s"
            for number, wait in steady.items()
            if wait > TARGET_SECONDS
        ],
        "started_again_within_a_minute": len(again),
        "killed": sum(what.startswith("killed") for _, what in fleet.events),
        "answers": fleet.answers,
        "events": [f"{at:6.1f} {what}" for at, what in fleet.events],
    }


def main() -> int:
    """Run it and print the figures; exit code 1 where a task was lost or ran twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pods", type=int, default=4, help="at most so many")
    parser.add_argument("--max", type=int, default=8, help="processes of one pod")
    parser.add_argument("--prefetch", type=int, default=1, help="worker_prefetch_multiplier")
    parser.add_argument("--steady", type=float, default=240.0, help="seconds of steady tasks after the burst")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, prefetch {options.prefetch}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="pods-") as folder:
        found = run(Path(folder), options)
    print(json.dumps(found, indent=1))
    return 1 if found["lost"] or found["twice"] else 0


if __name__ == "__main__":
    sys.exit(main())
