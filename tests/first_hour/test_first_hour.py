"""The first hour of a new user: the README's commands in its order, and what a person reads at each.

A real Redis, real workers by the README's own lines, and a pseudo-terminal where a person would sit at one.
The demo is in tests/autoscaler/demo, the document service's first upload in tests/docs/test_curls.py.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from autoscaler.demo.embedded import Process, RedisServer, free_port
from tests.docs.markdown import TOP, blocks
from tests.support.cluster import started

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

EXAMPLES = TOP / "docs/examples"
LINES = [line.strip() for block in blocks((TOP / "README.md").read_text()) for line in block.splitlines()]


def readme(beginning: str) -> str:
    """The one line of the README that begins so."""
    (found,) = {line for line in LINES if line.startswith(beginning)}
    return found


class Terminal:
    """A command at a terminal, and what it has printed."""

    def __init__(self, line: str, environment: dict[str, str]) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(EXAMPLES)
            os.execvpe("sh", ("sh", "-c", f"exec {line}"), {**environment, "TERM": "xterm"})
        self._raw = ""
        self.exit_code: int | None = None

    @property
    def shown(self) -> str:
        """All that was printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._raw)

    def read_until(self, pattern: str) -> re.Match[str]:
        """The first match of a pattern, as soon as it is printed."""
        started(lambda: self._read() and re.search(pattern, self.shown), what=f"{pattern} at the terminal")
        found = re.search(pattern, self.shown)
        assert found
        return found

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit code."""
        os.write(self._end, b"\x03")
        started(self._ended, what="the end after Ctrl-C")
        assert self.exit_code is not None
        return self.exit_code

    def close(self) -> None:
        """End it where it still runs."""
        if self.exit_code is None and not self._ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._end)

    def _read(self) -> bool:
        while select.select([self._end], [], [], 0.1)[0]:
            try:
                self._raw += os.read(self._end, 65536).decode(errors="replace")
            except OSError:  # how a terminal ends that nothing runs in
                break
        return True

    def _ended(self) -> bool:
        self._read()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.exit_code = os.waitstatus_to_exitcode(status)
        return bool(pid)


@dataclass(frozen=True)
class Desk:
    """A shell with the packages on its path, and a broker."""

    folder: Path
    url: str
    stack: ExitStack

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOSCALER_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**clean, "PATH": path, "REDIS_URL": self.url, "TMPDIR": str(self.folder)}

    def type(self, line: str, **environment: str) -> tuple[int, str, str]:
        """Run a line as typed: exit code, standard output and standard error."""
        done = subprocess.run(
            ("sh", "-c", line),
            env={**self.environment, **environment},
            cwd=EXAMPLES,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return done.returncode, done.stdout, done.stderr

    def start_worker(self, line: str) -> None:
        """Start a worker by a line of the README, on this broker and with a name that no host changes."""
        line = line.replace("celery -A", f"celery -b {self.url} -A", 1).replace("@%h", "@h")
        name = shlex.split(line)[shlex.split(line).index("-n") + 1]
        self.stack.enter_context(
            Process(
                ("sh", "-c", f"exec {line} --loglevel INFO"),
                log_path=self.folder / f"{name}.log",
                environment=self.environment,
                working_folder=EXAMPLES,
                stop_signal=signal.SIGKILL,
            )
        )

    def at_terminal(self, line: str) -> Terminal:
        """Start a daemon at a terminal, with a port that is free here and a clear first size."""
        terminal = Terminal(f"{line} --max 6 --listen 127.0.0.1:{free_port()}", self.environment)
        self.stack.callback(terminal.close)
        return terminal

    def send(self, count: int) -> None:
        sender = Celery("sender", broker=self.url, set_as_current=False)
        for _ in range(count):
            sender.send_task("mail", args=[0.4], queue="mails", ignore_result=True)
        sender.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        server = stack.enter_context(RedisServer(Path(name) / "redis"))
        yield Desk(folder=Path(name), url=server.url, stack=stack)


@pytest.mark.timeout(240)
def test_the_steps_of_the_readme_lead_from_a_check_to_a_worker_that_grows(desk: Desk):
    code, shown, _ = desk.type(readme("autoscaler check"))
    assert (code, "fail  workers: none answered" in shown) == (1, True)
    desk.start_worker(readme("celery -A two_queues worker -n mails"))
    desk.start_worker(readme("celery -A two_queues worker -n reports"))
    started(lambda: desk.type("autoscaler check")[1].count("(companion)") == 2, what="both workers")

    code, shown, faults = desk.type(readme("autoscaler once"))
    rows = [line.split() for line in shown.splitlines()]
    assert (code, faults, [row[0] for row in rows[:3]]) == (0, "", ["WORKER", "mails@h", "reports@h"])
    assert sum(line.startswith("Not learned yet: ") for line in shown.splitlines()) == 3

    dry = desk.at_terminal(readme("autoscaler run --dry-run"))
    start = dry.read_until(r"daemon\.started[^\r]*").group()
    for said in ("mode=dry_run", "target_wait_seconds=5.0", "max=6", "max_from=--max", "this host only"):
        assert said in start
    desk.send(150)
    line = dry.read_until(r"pool\.would_resize[^\r]*worker=mails@h[^\r]*|pool\.would_resize[^\r]*mails[^\r]*")
    assert re.search(r"reason=(latency|at_max)", line.group())
    desk.type("autoscaler pause --for 30m --by ann --why 'a deploy'")
    dry.read_until(r"state='?\"?paused by ann until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: a deploy")
    desk.type("autoscaler resume")
    assert dry.interrupt() == 0
    assert re.search(r"daemon\.stopped\s+would_have_resized=[1-9]", dry.shown)
    assert "pool.resized" not in dry.shown
    assert "Traceback" not in dry.shown

    acting = desk.at_terminal(readme("autoscaler run --target-wait 5s"))
    acting.read_until(r"mode=act\b")
    desk.send(150)
    acting.read_until(r"pool\.resized[^\r]*")
    _, shown, _ = desk.type("autoscaler status")
    assert re.search(r"default: mode act, leader, last tick \d+ s ago", shown)
    _, shown, _ = desk.type("autoscaler events")
    assert re.search(r"mails@h\s+\d -> \d\s+done", shown)
    assert acting.interrupt() == 0


@pytest.mark.timeout(240)
def test_a_mistyped_name_is_reported_with_what_was_probably_meant(desk: Desk):
    desk.start_worker(readme("celery -A two_queues worker -n mails"))
    started(lambda: "(companion)" in desk.type("autoscaler check")[1], what="the worker")
    code, _, said = desk.type("autoscaler once --target-wait mials=3s")
    assert (code, said) == (
        1,
        (
            "autoscaler: --target-wait mials: no worker consumes it and it holds no message; did you mean"
            " mails? queues that workers consume: mails\n"
        ),
    )
    code, _, said = desk.type("autoscaler once", AUTOSCALER_TARGET_WAT="3s")
    assert (code, said) == (
        0,
        (
            "autoscaler: AUTOSCALER_TARGET_WAT is not a setting and has no effect; did you mean"
            " AUTOSCALER_TARGET_WAIT?\n"
        ),
    )
    code, shown, _ = desk.type("autoscaler check --worker nope@vm")
    assert (code, "workers that answer: mails@h" in shown) == (1, True)
    code, _, said = desk.type("autoscaler once --target-wait off --queue nope")
    assert (code, "nope" in said) == (1, True)


def test_a_trace_is_replayed_and_the_winner_named(desk: Desk):
    line = (
        readme("autoscaler simulate TRACE.csv")
        if any("simulate" in one for one in LINES)
        else ("autoscaler simulate TRACE.csv --max 64")
    )
    code, shown, said = desk.type(line.replace("TRACE.csv", "bursts.csv"))
    assert (code, said) == (0, "")
    *rows, result = shown.splitlines()
    assert rows.pop().startswith("These start less than 99% of the tasks within 5 s")
    assert len([row for row in rows[4:] if row]) == 8, "two ways of ours and six others"
    assert re.fullmatch(
        r".+ is the cheapest that starts 99% of the tasks within 5 s: cost .+; next is .+\.", result
    )
