"""A broker, a ledger and one worker under test, with the means to resize it and to trouble it."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from celery import Celery
from redis import Redis

from autoscaler.demo.embedded import Process, RedisServer, wait_until
from tests.churn.scenarios import Pool, Scenario, Trouble
from tests.support.memory_group import entering, memory_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.memory_group import MemoryGroup

ROOT = Path(__file__).resolve().parents[2]
WORKER = "churn@bench"
QUEUE = "celery"
_PARKED = "parked"
_REPLY_SECONDS = 20.0
#: How long the broker waits for the acknowledgement of a message before it gives it to another.
_EXPIRES_SECONDS = 12
_FOR_EVER_SECONDS = 3600
#: Room for eight processes and three or four tasks of a scenario whose tasks hold memory.
_SHORT_MEBIBYTES = 440


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How the worker is started: by which Python, with how many processes, with which options."""

    python: str = sys.executable
    processes: int = 4
    options: Sequence[str] = ()
    environment: Mapping[str, str] | None = None


class Bench:
    """A context manager: everything it started has ended when it is left."""

    def __init__(self, folder: Path, scenario: Scenario, setup: Setup) -> None:
        self._folder = folder
        self._scenario = scenario
        self._setup = setup
        self._stack = ExitStack()
        lets_go = scenario.trouble in {Trouble.BROKER, Trouble.CUT}
        self._visibility_seconds = _EXPIRES_SECONDS if lets_go else _FOR_EVER_SECONDS
        self._broker_server = RedisServer(folder / "broker", persistent=True)
        self._ledger_server = RedisServer(folder / "ledger")
        self.worker: Process
        self.deaths = 0  # of workers, by themselves
        self._group: MemoryGroup | None = None

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._broker_server = undo.enter_context(self._broker_server)
            self._ledger_server = undo.enter_context(self._ledger_server)
            self.broker = undo.enter_context(Redis(port=self._broker_server.port, decode_responses=True))
            self.ledger = undo.enter_context(Redis(port=self._ledger_server.port, decode_responses=True))
            self.app = Celery("bench", broker=self._broker_server.url, set_as_current=False)
            self.app.conf.task_ignore_result = True
            self.app.conf.broker_transport_options = {"visibility_timeout": self._visibility_seconds}
            self.app.conf.update(json.loads((self._setup.environment or {}).get("CHURN_CONF", "{}")))
            undo.callback(self.app.close)
            if self._scenario.mebibytes:
                self._group = undo.enter_context(memory_group(_SHORT_MEBIBYTES))
            self.start_worker()
            undo.callback(self.stop_worker)
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- the worker

    def start_worker(self) -> None:
        """Start it and return when it answers."""
        log_path = self._folder / "worker.log"
        options = ["-n", WORKER, "-c", str(self._setup.processes), "-l", "WARNING"]
        options += ["--without-mingle", "--without-gossip", *self._setup.options]
        if self._scenario.pool is not Pool.PREFORK:
            options += ["-P", self._scenario.pool]
        if self._scenario.max_tasks_per_child:
            options += ["--max-tasks-per-child", str(self._scenario.max_tasks_per_child)]
        if self._scenario.max_kilobytes_per_child:
            options += ["--max-memory-per-child", str(self._scenario.max_kilobytes_per_child)]
        enter = () if self._group is None else entering(self._group.folder)
        self.worker = Process(
            (*enter, self._setup.python, "-m", "celery", "-A", "tests.churn.app", "worker", *options),
            log_path=log_path,
            working_folder=ROOT,
            environment={
                "PYTHONPATH": os.fspath(ROOT),
                "CHURN_BROKER": self._broker_server.url,
                "CHURN_LEDGER": self._ledger_server.url,
                "CHURN_ACKS": self._scenario.acks,
                "CHURN_PREFETCH": str(self._scenario.prefetch),
                "CHURN_VISIBILITY_SECONDS": str(self._visibility_seconds),
                **({"CHURN_START_METHOD": "spawn"} if self._scenario.spawns else {}),
                **({} if self._scenario.prefetches else {"CHURN_DISABLE_PREFETCH": "1"}),
                **(self._setup.environment or {}),
            },
            stop_within_seconds=60,
        )
        self.worker.wait_until(
            lambda: self.ask("ping", within_seconds=1.5), within_seconds=60, what="the worker's first answer"
        )

    def stop_worker(self) -> None:
        """End it by a warm shutdown, and by force when that does not end."""
        self.worker.stop()

    def oom_kills(self) -> int:
        """Processes of the worker that the OOM killer has ended."""
        return 0 if self._group is None else self._group.oom_kills

    def ask(self, command: str, /, *, within_seconds: float = _REPLY_SECONDS, **arguments: Any) -> Any:
        """The worker's reply to a remote command, or None where there is none in time."""
        with self.app.connection_for_write() as connection:
            replies = self.app.control.broadcast(
                command,
                arguments=arguments,
                destination=[WORKER],
                reply=True,
                timeout=within_seconds,
                connection=connection,
            )
        return replies[0][WORKER] if replies else None

    def report(self) -> dict[str, Any]:
        """The companion's report.

        Raises:
            AssertionError: with the end of the worker's log, when there is none.
        """
        report = self.ask("pool_report")
        assert isinstance(report, dict), (
            f"no pool_report; the worker's log ends:\n{self.worker.log()[-3000:]}"
        )
        return report

    # -- its tasks

    def waiting(self) -> int:
        """Messages in the queue that nobody has fetched."""
        return int(self.broker.llen(QUEUE))

    def unacked(self) -> int:
        """Messages fetched and not yet acknowledged."""
        return int(self.broker.hlen("unacked"))

    def wait_until_idle(self, within_seconds: float) -> bool:
        """Whether nothing waits, runs or is fetched, in time."""

        def idle() -> bool:
            if self.waiting() or self.unacked():
                self._restore_expired()
                return False
            report = self.report()
            return not any(report[key] for key in ("busy", "reserved", "retiring"))

        try:
            wait_until(idle, within_seconds=within_seconds, what="rest")
        except TimeoutError:
            return False
        return True

    def _restore_expired(self) -> None:
        # What a worker held when it lost its broker; workers look for that too, but once in 100 s.
        if self._visibility_seconds < _FOR_EVER_SECONDS:
            with self.app.connection_for_write() as connection:
                connection.default_channel.qos.restore_visible(num=1000, interval=1)

    # -- trouble

    def kill_busy_child(self) -> int | None:
        """Kill a child in the middle of a task, for certain; that task's number, or None where none runs."""
        for pid, number in self.ledger.hgetall("running").items():
            try:
                os.kill(int(pid), signal.SIGSTOP)
            except ProcessLookupError:
                continue
            # Stopped, it can neither end this task nor take another: what the ledger says now stays true.
            if self.ledger.hget("running", pid) == number:
                os.kill(int(pid), signal.SIGKILL)
                self.ledger.hdel("running", pid)
                return int(number)
            os.kill(int(pid), signal.SIGCONT)
        return None

    def restart_broker(self) -> bool:
        """Restart the broker while the worker holds tasks; False where no moment was found for it."""
        if not self._park_what_waits():
            return False
        self._broker_server.stop()
        self._broker_server.start()
        self._give_back_parked()
        self._await_return()
        return True

    def cut_connections(self) -> bool:
        """Cut the worker's connections while it holds tasks; False where no moment was found for it."""
        if not self._park_what_waits():
            return False
        for kind in ("pubsub", "normal"):
            self.broker.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        self._give_back_parked()
        self._await_return()
        return True

    def _park_what_waits(self) -> bool:
        """Put the queue aside until no message is on its way from the broker to the worker.

        A message that Redis has popped and the worker has not yet stored dies with their connection: a
        window of Celery's transport that says nothing about resizes. Whatever was popped before has been
        handled when the worker answers a command sent after, and then another.
        """
        if self.broker.exists(QUEUE):
            self.broker.rename(QUEUE, _PARKED)

        def nothing_on_its_way() -> bool:
            self.report()
            before = self.unacked()
            self.report()
            return not self.broker.exists(QUEUE) and self.unacked() == before

        try:
            wait_until(nothing_on_its_way, within_seconds=10, what="a moment with no message on its way")
        except TimeoutError:
            self._give_back_parked()
            return False
        return True

    def _await_return(self) -> None:
        # Celery 5.7.0 ends with "'NoneType' object has no attribute 'hostname'" where it holds messages when
        # the broker goes away, resized or not; so this does what a supervisor does.
        def back() -> bool:
            if self.worker.exit_code is not None:
                self.deaths += 1
                self.start_worker()
            return self.ask("ping", within_seconds=1.5) is not None

        wait_until(back, within_seconds=90, what="the worker's return")

    def _give_back_parked(self) -> None:
        while self.broker.lmove(_PARKED, QUEUE, "RIGHT", "LEFT"):
            pass

    def restart_worker(self) -> None:
        """End the worker by a warm shutdown and start another."""
        self.stop_worker()
        self.start_worker()
