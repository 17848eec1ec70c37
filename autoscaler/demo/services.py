"""What runs in the demo: servers, document service, worker and daemon, each a process of its own."""

from __future__ import annotations

import json
import sys
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from autoscaler.broker.keys import Keys
from autoscaler.core.model import MEANINGS, Reason, Result
from autoscaler.demo.documents import SETTINGS, DocumentService
from autoscaler.demo.embedded import (
    EmbeddedError,
    PostgresServer,
    Process,
    RedisServer,
    free_port,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path
    from threading import Event

NAME = "demo"
WORKER = "demo@localhost"
MAILS = 250
PDFS = 100
#: Of each PDF, attached ones too. Reading one of so many pages takes a process tens of milliseconds, and all
#: of them longer than the target wait: one process cannot do it.
PAGES = 4
#: Every mail has a PDF attached, which becomes a document too.
DOCUMENTS = 2 * MAILS + PDFS
_BATCH = 50
_START_SECONDS = 60

#: The daemon's flags. The policy is the default one, target wait and interval too; only its maximum is given,
#: so that a small machine shows something.
DAEMON_FLAGS = {"--max": "8", "--processes-per-core": "8"}


class InterruptedDemoError(RuntimeError):
    """It was interrupted before everything was up."""


@dataclass(slots=True)
class Story:
    """What was seen so far."""

    files: int = 0
    documents: int = 0
    done: int = 0
    #: As the worker reported them, one for each look.
    sizes: list[int] = field(default_factory=list)
    #: The largest that a resize was done to; it may shrink again between two looks.
    largest: int = 0
    #: Whether the daemon saw tasks that wait, are reserved or run, at the last look.
    busy: bool = False
    #: The target wait, and the shortest one that growth can keep here, at the last look; None where none is
    #: known.
    target: float | None = None
    shortest_target: float | None = None
    decisions: list[str] = field(default_factory=list)
    last_event: str = "0-0"

    @property
    def too_slow(self) -> bool:
        """Whether a start takes too long here for the target wait: then what was needed is kept for long."""
        target, shortest = self.target, self.shortest_target
        return target is not None and shortest is not None and target < shortest


class Demo:
    """The running demo: servers, service, worker and daemon."""

    def __init__(self, stack: ExitStack, folder: Path, stop: Event) -> None:
        self._stack = stack
        self.stop = stop
        self._root = folder
        self._folder = folder / "service"
        self.page = f"http://127.0.0.1:{free_port()}"
        self.story = Story()
        self.service = DocumentService(self._folder, free_port())
        self._redis_url = ""
        self._client: redis.Redis | None = None

    def start(self) -> None:
        """Start everything and return when all of it answers.

        Raises:
            EmbeddedError: where a server or a process does not come up.
            InterruptedDemoError: when ``stop`` is set before all of them have.
        """
        self._folder.mkdir(mode=0o700)  # the token is in there
        samples = self._started(self.service.samples(mails=MAILS, pdfs=PDFS, pages=PAGES))
        server = self._stack.enter_context(RedisServer(self._root / "valkey"))
        postgres = self._stack.enter_context(PostgresServer(self._root / "postgres"))
        self._redis_url = server.url
        self.service.environment |= {
            "REDIS_URL": server.url,
            "DATABASE_URL": postgres.url,
            "AUTOSCALER_NAME": NAME,
        }
        daemon = self._started(self._daemon())
        self._ended(samples, "docservice samples")
        self._ended(self._started(self.service.migrate()), "docservice migrate")
        token = self._started(self.service.make_token())
        api = self._started(self.service.api())
        worker = self._started(self.service.worker(WORKER))
        self._stack.callback(_ask_to_end, api, worker, daemon)
        self._ended(token, "docservice token create")
        self._until(api, self.service.answers, "the API's first answer")
        self._until(worker, lambda: " ready." in worker.log(), "the worker's start")
        self._until(daemon, lambda: self.status() is not None, "the daemon's first look at the worker")

    def _daemon(self) -> Process:
        flags = [word for pair in DAEMON_FLAGS.items() for word in pair]
        listen = self.page.removeprefix("http://")
        command = (sys.executable, "-m", "autoscaler", "run", "--name", NAME, "--listen", listen)
        return Process(
            (*command, "--log-format", "json", *flags),
            log_path=self._folder / "daemon.log",
            environment={"REDIS_URL": self._redis_url},
            without=SETTINGS,
            working_folder=self._folder,
        )

    def _started(self, process: Process) -> Process:
        return self._stack.enter_context(process)

    def _check_stop(self) -> bool:
        if self.stop.is_set():
            raise InterruptedDemoError("interrupted before everything was up")
        return False

    def _until(self, process: Process, condition: Callable[[], object], what: str) -> None:
        process.wait_until(
            lambda: self._check_stop() or condition(), within_seconds=_START_SECONDS, what=what
        )

    def _ended(self, process: Process, what: str) -> None:
        with suppress(TimeoutError):
            wait_until(
                lambda: self._check_stop() or process.exit_code is not None,
                within_seconds=_START_SECONDS,
                what=what,
            )
        if process.exit_code != 0:
            printed = process.log().strip().splitlines() or ["it did not end"]
            raise EmbeddedError(f"{what} failed: {printed[-1]}")

    def _redis(self) -> redis.Redis:
        if self._client is None:
            self._client = redis.Redis.from_url(self._redis_url)
            self._stack.callback(self._client.close)
        return self._client

    def uploads(self) -> list[list[Path]]:
        """The files, in the batches that are uploaded together; each batch has some of every kind."""
        paths = sorted(self.service.sample_folder.iterdir(), key=lambda path: path.stem.partition("-")[2])
        return [paths[first : first + _BATCH] for first in range(0, len(paths), _BATCH)]

    def send(self, batch: list[Path]) -> None:
        """Upload one batch."""
        self.story.files += self.service.upload(batch)
        self.story.documents += sum(2 if path.suffix == ".eml" else 1 for path in batch)

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
            self.story.busy = any(
                group[count] is None or group[count] > 0
                for group in status["groups"]
                for count in ("waiting", "reserved", "running")
            )
            self.story.target = status["target_wait_seconds"]
            shortest = [group["shortest_target_seconds"] for group in status["groups"]]
            self.story.shortest_target = max((one for one in shortest if one is not None), default=None)
        entries: Any = self._redis().xrange(Keys(name=NAME).events, min=f"({self.story.last_event}")
        for number, fields in entries:
            self.story.last_event = number.decode()
            event = {key.decode(): value.decode() for key, value in fields.items()}
            meaning = MEANINGS[Reason(event["reason"])]
            if event["result"] == Result.DONE:
                self.story.largest = max(self.story.largest, int(event["target"]))
            change = f"{event['before']} -> {event['target']} processes"
            self.story.decisions.append(f"{change}, {event['result']}: {event['reason']} ({meaning})")
        self.story.done = self.service.page({"state": "processed"}, limit=1)["total"]
        return status

    @property
    def over(self) -> bool:
        """Whether all is done and the worker is back at one process, or will not be for long."""
        story = self.story
        if not story.done == story.documents == DOCUMENTS or max(story.sizes) == 1:
            return False
        return story.sizes[-1] == 1 or (story.too_slow and not story.busy)


def _ask_to_end(*processes: Process) -> None:
    for process in processes:  # all at once, before each is waited for
        process.send(process.stop_signal)
