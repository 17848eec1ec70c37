"""A small world of real processes: a broker, Celery workers, daemons. All of it ends with the test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery

from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

ROOT = Path(__file__).parents[2]
#: Delays of parts of a second, so that a test sees in moments what takes half a minute in production.
PROMPT = {
    "--interval": "0.3",
    "--max": "6",
    "--scale-up-cooldown": "0.3",
    "--scale-down-delay": "0.5",
    "--scale-down-cooldown": "0.5",
    "--stabilization-window": "1",
    "--settle-time": "6.5",
    "--log-format": "json",
}


def started(condition: Any, *, within_seconds: float = 60, what: str) -> None:
    wait_until(condition, within_seconds=within_seconds, what=what)


@dataclass
class Daemon:
    """A running daemon and its pages."""

    process: Process
    page: str

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.page}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as fault:
            return fault.code, fault.read().decode()

    def status(self) -> dict[str, Any]:
        return json.loads(self.get("/status")[1])

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of one series, None where it does not exist."""
        for line in self.get("/metrics")[1].splitlines():
            match = re.fullmatch(r"celery_autoscaler_(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name:
                found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                if labels.items() <= found.items():
                    return float(match[3])
        return None

    def decision(self, worker: str) -> dict[str, Any]:
        found = [one for one in self.status().get("decisions", ()) if one["worker"] == worker]
        return found[0] if found else {}

    def reason(self, worker: str) -> str | None:
        return self.decision(worker).get("reason")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = [json.loads(line) for line in self.process.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


@dataclass
class Cluster:
    """One broker and what is started on it."""

    folder: Path
    stack: ExitStack
    server: RedisServer
    workers: dict[str, Process] = field(default_factory=dict)
    apps: list[Celery] = field(default_factory=list)

    @property
    def redis(self) -> redis.Redis:
        client = redis.Redis.from_url(self.server.url)
        self.stack.callback(client.close)
        return client

    def worker(
        self,
        name: str = "w1@h",
        *options: str,
        processes: int = 1,
        companion: bool = True,
        url: str | None = None,
        wait: bool = True,
        python: str = sys.executable,
        tree: Path = ROOT,
        **environment: str,
    ) -> Process:
        """Start a worker of ``tree`` and return when it takes tasks."""
        command = (python, "-m", "celery", "-A", "tests.support.worker_app", "worker", "-n", name)
        loads = ("-I", "autoscaler.companion") if companion else ()
        log_path = self.folder / f"worker-{len(list(self.folder.glob('worker-*')))}.log"
        process = self.stack.enter_context(
            Process(
                (*command, "-c", str(processes), "--loglevel", "INFO", "--without-mingle", *loads, *options),
                log_path=log_path,
                environment={
                    "BROKER": url or self.server.url,
                    "LEDGER": self.server.url,
                    "TMPDIR": str(self.folder),  # one that is killed leaves what multiprocessing put there
                    **environment,
                },
                working_folder=tree,
                stop_signal=signal.SIGKILL,  # its children end with it; nobody waits for naps
            )
        )
        if wait:
            process.wait_until(
                lambda: "ready." in process.log(), within_seconds=60, what=f"the start of {name}"
            )
        self.workers[name] = process
        return process

    def daemon(
        self,
        *words: str,
        url: str | None = None,
        wait: bool = True,
        python: str = sys.executable,
        tree: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        **flags: str,
    ) -> Daemon:
        """Start a daemon of ``tree`` with prompt delays.

        ``flags`` override them, ``words`` are added as they are. It logs to ``log_path``, or to a file.
        """
        listen = f"127.0.0.1:{free_port()}"
        given = {**PROMPT, **{f"--{key.replace('_', '-')}": value for key, value in flags.items()}}
        flat = [word for pair in given.items() for word in pair]
        process = self.stack.enter_context(
            Process(
                (python, "-m", "autoscaler", "run", "--listen", listen, *flat, *words),
                log_path=log_path or self.folder / f"daemon-{listen.rpartition(':')[2]}.log",
                environment={
                    **({} if url == "" else {"REDIS_URL": url or self.server.url}),
                    **(environment or {}),
                },
                working_folder=tree,
                stop_within_seconds=6,
            )
        )
        daemon = Daemon(process, f"http://{listen}")
        if wait:
            process.wait_until(lambda: ticked(daemon), within_seconds=30, what="the daemon's first tick")
        return daemon

    def send(self, count: int, seconds: float, *, queue: str = "celery") -> None:
        """Send ``count`` naps of ``seconds``."""
        app = Celery("sender", broker=self.server.url, set_as_current=False)
        for _ in range(count):
            app.send_task("nap", args=[seconds], queue=queue, ignore_result=True)
        app.close()

    def hold(self, count: int, *, queue: str = "celery") -> None:
        """Send ``count`` tasks that run until :meth:`release`."""
        app = Celery("sender", broker=self.server.url, set_as_current=False)
        for _ in range(count):
            app.send_task("hold", queue=queue, ignore_result=True)
        app.close()

    def release(self) -> None:
        """Let the tasks that are held end."""
        self.redis.set("release", 1)

    def ended(self) -> dict[bytes, bytes]:
        """How often each task ended, by its id."""
        return self.redis.hgetall("ended")

    def lost_and_twice(self, sent: int) -> tuple[int, int]:
        runs = [int(count) for count in self.ended().values()]
        return sent - len(runs), sum(count > 1 for count in runs)


def ticked(daemon: Daemon) -> bool:
    try:
        return daemon.status()["at"] is not None
    except OSError:
        return False


def command(*words: str, **environment: str) -> tuple[int, str, str]:
    """Run ``autoscaler`` once: exit code, standard output, standard error."""
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("AUTOSCALER_", "REDIS_"))
    }
    done = subprocess.run(
        (sys.executable, "-m", "autoscaler", *words),
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=ROOT,
    )
    return done.returncode, done.stdout, done.stderr
