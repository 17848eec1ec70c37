"""``autoscaler demo``: a real worker grows under a backlog and shrinks when it is gone.

It starts an embedded Valkey, a Celery worker with one process, and the daemon, each as a process of its own,
sends a burst of mails, shows what happens and counts what ran. Everything it started ends with it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from autoscaler.contract import Keys
from autoscaler.demo_view import Screen, open_screen
from autoscaler.embedded import EmbeddedError, Process, RedisServer, free_port
from autoscaler.model import MEANINGS, Reason

if TYPE_CHECKING:
    from threading import Event

    from celery import Celery

__all__ = ["EmbeddedError", "Summary", "interrupted_by", "run_demo", "succeeded"]

NAME = "demo"
WORKER = "demo@localhost"
BURST = 150
_QUIET_START_SECONDS = 2.0
_REFRESH_SECONDS = 0.25

#: The daemon's flags: a demo's delays are seconds where production's are half a minute.
DAEMON_FLAGS = {
    "--interval": "0.5",
    "--max": "8",
    "--processes-per-core": "8",
    "--scale-up-cooldown": "1",
    "--scale-down-delay": "2",
    "--scale-down-cooldown": "2",
    "--stabilization-window": "4",
    "--max-step-up": "4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of the demo. Waits are seconds from sending a task to its start."""

    sent: int
    done: int
    lost: int
    run_twice: int
    start_processes: int
    peak_processes: int
    final_processes: int
    wait_p50_seconds: float | None
    wait_p95_seconds: float | None
    seconds: float


@dataclass(slots=True)
class _Story:
    """What was seen so far."""

    sizes: list[int] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    last_event: str = "0-0"


class Demo:
    """The running demo: servers, worker, daemon and producer."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._folder = folder
        server = stack.enter_context(RedisServer(folder / "valkey"))
        self.redis_url = server.url
        self.redis = redis.Redis.from_url(server.url)
        stack.callback(self.redis.close)
        self.page = f"http://127.0.0.1:{free_port()}"
        os.environ["REDIS_URL"] = server.url  # the producer's application reads it when it is imported
        from autoscaler import demo_worker  # noqa: PLC0415

        self.tasks = demo_worker
        app: Celery = demo_worker.app
        stack.callback(app.close)
        self.worker = stack.enter_context(self._start_worker())
        self.daemon = stack.enter_context(self._start_daemon())
        self.sent = 0
        self.story = _Story()

    def _start_worker(self) -> Process:
        command = (sys.executable, "-m", "celery", "-A", "autoscaler.demo_worker", "worker", "-n", WORKER)
        options = ("-c", "1", "-Q", self.tasks.QUEUE, "-I", "autoscaler.companion", "--loglevel", "INFO")
        quiet = ("--without-gossip", "--without-mingle")
        return Process(
            (*command, *options, *quiet),
            log_path=self._folder / "worker.log",
            environment={"REDIS_URL": self.redis_url},
            working_folder=self._folder,
        )

    def _start_daemon(self) -> Process:
        flags = [word for pair in DAEMON_FLAGS.items() for word in pair]
        listen = self.page.removeprefix("http://")
        command = (sys.executable, "-m", "autoscaler", "run", "--name", NAME, "--listen", listen)
        return Process(
            (*command, "--log-format", "json", *flags),
            log_path=self._folder / "daemon.log",
            environment={"REDIS_URL": self.redis_url},
            working_folder=self._folder,
        )

    def wait_until_ready(self) -> None:
        """Return when the worker and the daemon answer.

        Raises:
            EmbeddedError: with the end of a log, when one does not.
        """
        self.worker.wait_until(
            lambda: "ready." in self.worker.log(), within_seconds=60, what="the worker's start"
        )
        self.daemon.wait_until(
            lambda: self.status() is not None, within_seconds=30, what="the daemon's first tick"
        )

    def send(self, count: int) -> None:
        """Send so many mails to the worker."""
        for _ in range(count):
            self.sent += 1
            mail = self.tasks.make_mail(self.sent).decode("latin-1")
            self.tasks.take_in.delay(mail, time.time())

    def status(self) -> dict[str, Any] | None:
        """The daemon's page, or None where it does not answer or has seen no worker yet."""
        try:
            with urllib.request.urlopen(f"{self.page}/status", timeout=2) as answer:  # noqa: S310 - our own
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return None
        return found if found.get("workers") else None

    def look(self) -> dict[str, Any] | None:
        """Take in what has happened since the last look."""
        status = self.status()
        if status is not None:
            self.story.sizes.append(int(status["workers"][0]["processes"] or 0))
        entries: Any = self.redis.xrange(Keys(name=NAME).events, min=f"({self.story.last_event}")
        for number, fields in entries:
            self.story.last_event = number.decode()
            told = {key.decode(): value.decode() for key, value in fields.items()}
            meaning = MEANINGS[Reason(told["reason"])]
            change = f"{told['before']} -> {told['target']} processes"
            self.story.decisions.append(f"{change}, {told['result']}: {told['reason']} ({meaning})")
        return status

    @property
    def done(self) -> int:
        """How many tasks have run."""
        count: Any = self.redis.hlen(self.tasks.DONE_KEY)
        return int(count)

    @property
    def over(self) -> bool:
        """Whether all is done and the worker is back at one process."""
        sizes = self.story.sizes
        return self.sent > 0 and self.done == self.sent and max(sizes) > 1 and sizes[-1] == 1

    def summary(self, seconds: float) -> Summary:
        """The outcome as it stands."""
        runs: Any = self.redis.hvals(self.tasks.DONE_KEY)
        waits: Any = self.redis.lrange(self.tasks.WAIT_KEY, 0, -1)
        ordered = sorted(float(wait) for wait in waits)
        sizes = self.story.sizes or [0]
        return Summary(
            sent=self.sent,
            done=len(runs),
            lost=self.sent - len(runs),
            run_twice=sum(int(count) > 1 for count in runs),
            start_processes=sizes[0],
            peak_processes=max(sizes),
            final_processes=sizes[-1],
            wait_p50_seconds=quantile(ordered, 0.5),
            wait_p95_seconds=quantile(ordered, 0.95),
            seconds=round(seconds, 1),
        )


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that ``share`` of the ordered ones do not exceed (nearest rank), or None."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)


def run_demo(*, seconds: float, as_json: bool, keep: bool, stop: Event) -> Summary:
    """Play the demo for at most ``seconds`` after everything is up, or until it is over.

    Raises:
        EmbeddedError: where a server or a process does not come up.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoscaler-demo-")))
        screen = stack.enter_context(open_screen(quiet=as_json))
        screen.say("Starting Valkey, a Celery worker with one process, and the autoscaler ...")
        demo = Demo(stack, folder)
        demo.wait_until_ready()
        screen.say(f"Worker {WORKER} is up. Watch it yourself: {demo.page}/status and {demo.page}/metrics")
        started = time.monotonic()
        _play(demo, screen, started, seconds, stop)
        summary = demo.summary(time.monotonic() - started)
        screen.close_view()
        _tell(screen, summary, as_json=as_json)
        if keep and not stop.is_set():
            screen.say(f"Still running on {demo.redis_url} and {demo.page}; Ctrl-C ends it.")
            stop.wait()
    return summary


def _play(demo: Demo, screen: Screen, started: float, seconds: float, stop: Event) -> None:
    burst_sent = False
    while not stop.is_set():
        passed = time.monotonic() - started
        if not burst_sent and passed > min(_QUIET_START_SECONDS, seconds / 4):
            demo.send(BURST)
            screen.say(f"Sent {BURST} mails at once.")
            burst_sent = True
        status = demo.look()
        screen.show(status, demo.story.decisions, sent=demo.sent, done=demo.done, seconds=passed)
        if demo.over or passed > seconds:
            return
        stop.wait(_REFRESH_SECONDS)


def _tell(screen: Screen, summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(summary)), flush=True)  # noqa: T201 - the last line is for a program
        return
    screen.say(
        f"Sent {summary.sent}, done {summary.done}, lost {summary.lost}, run twice {summary.run_twice}. "
        f"Processes {summary.start_processes} -> {summary.peak_processes} -> {summary.final_processes}. "
        f"Wait p50 {summary.wait_p50_seconds} s, p95 {summary.wait_p95_seconds} s; "
        f"{summary.seconds} s in all."
    )


def succeeded(summary: Summary) -> bool:
    """Whether the demo showed what it is for: growth, shrink, nothing lost."""
    grew = summary.peak_processes > summary.start_processes
    return grew and summary.lost == 0 and summary.run_twice == 0 and summary.final_processes == 1


def interrupted_by() -> tuple[signal.Signals, ...]:
    """The signals that end the demo in good order."""
    found = [signal.SIGINT, signal.SIGTERM]
    with suppress(AttributeError):
        found.append(signal.SIGHUP)
    return tuple(found)
