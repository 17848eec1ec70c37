"""``autoscaler demo``: a real worker grows under a backlog and shrinks when it is gone.

It starts an embedded Valkey and Postgres, the document service with its API and a worker of one process, and
the daemon, each as a process of its own; uploads a burst of mails and PDFs, shows what happens, counts what
came of it, and asks for some pages of it. Everything it started ends with it.
"""

from __future__ import annotations

import json
import math
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

from autoscaler.broker.keys import Keys
from autoscaler.core.model import MEANINGS, Reason
from autoscaler.demo.documents import DocumentService, grid_path
from autoscaler.demo.embedded import (
    EmbeddedError,
    PostgresServer,
    Process,
    RedisServer,
    free_port,
    wait_until,
)
from autoscaler.demo.view import Screen, open_screen

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

__all__ = ["EmbeddedError", "InterruptedDemoError", "Summary", "interrupted_by", "run_demo", "succeeded"]

NAME = "demo"
WORKER = "demo@localhost"
MAILS = 250
PDFS = 100
#: Every mail has a PDF attached, which becomes a document too.
DOCUMENTS = 2 * MAILS + PDFS
_TOGETHER = 50
_QUIET_START_SECONDS = 1.5
_REFRESH_SECONDS = 0.25
_START_SECONDS = 60
_BY_PREFIX = {"mail_number.prefix": "MN-2023", "sort": "mail_number"}
_BY_PART = {"mail_number.contains": "551"}
_SHOWN_COLUMNS = ("mail_number", "document_type", "title", "sender", "size_bytes", "pages")
_SHOWN_ROWS = 6

#: The daemon's flags: a demo's delays are seconds where production's are half a minute.
DAEMON_FLAGS = {
    "--interval": "0.5",
    "--max": "8",
    "--processes-per-core": "8",
    "--scale-up-cooldown": "1",
    "--scale-down-delay": "1",
    "--scale-down-cooldown": "2",
    "--stabilization-window": "3",
    "--max-step-up": "4",
}


class InterruptedDemoError(RuntimeError):
    """It was told to end before everything was up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of the demo. Files are uploaded, documents are those and what was attached to them.

    The seconds of a document count from its arrival until it was read.
    """

    files: int
    documents: int
    done: int
    lost: int
    run_twice: int
    start_processes: int
    peak_processes: int
    final_processes: int
    document_p50_seconds: float | None
    document_p95_seconds: float | None
    seconds: float


@dataclass(slots=True)
class _Story:
    """What was seen so far."""

    files: int = 0
    documents: int = 0
    done: int = 0
    sizes: list[int] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    last_event: str = "0-0"


class Demo:
    """The running demo: servers, service, worker and daemon."""

    def __init__(self, stack: ExitStack, folder: Path, stop: Event) -> None:
        self._stack = stack
        self.stop = stop
        self._folder = folder / "service"
        self._folder.mkdir(mode=0o700)  # the token stands in there
        self.page = f"http://127.0.0.1:{free_port()}"
        self.story = _Story()
        self.service = DocumentService(self._folder)
        samples = self._started(self.service.samples(mails=MAILS, pdfs=PDFS))
        server = stack.enter_context(RedisServer(folder / "valkey"))
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        self.redis = redis.Redis.from_url(server.url)
        stack.callback(self.redis.close)
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
        stack.callback(_tell_to_end, api, worker, daemon)
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
            environment={"REDIS_URL": self.service.environment["REDIS_URL"]},
            working_folder=self._folder,
        )

    def _started(self, process: Process) -> Process:
        return self._stack.enter_context(process)

    def _told_to_end(self) -> bool:
        if self.stop.is_set():
            raise InterruptedDemoError("interrupted before everything was up")
        return False

    def _until(self, process: Process, condition: Callable[[], object], what: str) -> None:
        process.wait_until(
            lambda: self._told_to_end() or condition(), within_seconds=_START_SECONDS, what=what
        )

    def _ended(self, process: Process, what: str) -> None:
        with suppress(TimeoutError):
            wait_until(
                lambda: self._told_to_end() or process.exit_code is not None,
                within_seconds=_START_SECONDS,
                what=what,
            )
        if process.exit_code != 0:
            told = process.log().strip().splitlines() or ["it does not end"]
            raise EmbeddedError(f"{what} failed: {told[-1]}")

    def uploads(self) -> list[list[Path]]:
        """The files, in the lots that are uploaded together; each lot has some of every kind."""
        paths = sorted(self.service.sample_folder.iterdir(), key=lambda path: path.stem.partition("-")[2])
        return [paths[first : first + _TOGETHER] for first in range(0, len(paths), _TOGETHER)]

    def send(self, lot: list[Path]) -> None:
        """Upload one lot."""
        self.story.files += self.service.upload(lot)
        self.story.documents += sum(2 if path.suffix == ".eml" else 1 for path in lot)

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
        self.story.done = self.service.page({"state": "processed"}, limit=1)["total"]
        return status

    @property
    def over(self) -> bool:
        """Whether all is done and the worker is back at one process."""
        story = self.story
        done = story.done == story.documents == DOCUMENTS
        return done and max(story.sizes) > 1 and story.sizes[-1] == 1

    def summary(self, seconds: float) -> Summary:
        """The outcome as it stands."""
        story = self.story
        taken = self.service.seconds_to_processed()
        sizes = story.sizes or [0]
        return Summary(
            files=story.files,
            documents=story.documents,
            done=len(taken),
            lost=story.documents - len(taken),
            run_twice=self.service.read_twice(),
            start_processes=sizes[0],
            peak_processes=max(sizes),
            final_processes=sizes[-1],
            document_p50_seconds=quantile(taken, 0.5),
            document_p95_seconds=quantile(taken, 0.95),
            seconds=round(seconds, 1),
        )


def _tell_to_end(*processes: Process) -> None:
    for process in processes:  # all at once, before each is waited for
        process.send(process.stop_signal)


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that ``share`` of the ordered ones do not exceed (nearest rank), or None."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)


def run_demo(*, seconds: float, as_json: bool, keep: bool, stop: Event) -> Summary:
    """Play the demo for at most ``seconds`` after everything is up, or until it is over.

    Raises:
        EmbeddedError: where a server or a process does not come up.
        InterruptedDemoError: when ``stop`` is set before all of them are.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoscaler-demo-")))
        folder.chmod(0o711)  # Postgres runs as another user when we are root
        screen = stack.enter_context(open_screen(quiet=as_json))
        screen.say(
            "Starting Valkey, Postgres, an API, a Celery worker with one process, and the autoscaler ..."
        )
        demo = Demo(stack, folder, stop)
        started = time.monotonic()
        screen.say(
            f"All of them are up after {started - begun:.1f} s. Watch for yourself: {demo.page}/status"
        )
        _play(demo, screen, started, seconds)
        summary = demo.summary(time.monotonic() - started)
        screen.close_view()
        _tell(screen, summary)
        if not stop.is_set():
            _show_pages(demo, screen)
            _show_addresses(demo, screen)
        if as_json:
            print(json.dumps(asdict(summary)), flush=True)  # noqa: T201 - the last line is for a program
        if keep and not stop.is_set():
            screen.say("All of it stays up: upload, look around. Ctrl-C ends it all.")
            _watch(demo, screen, started, lambda _: False)
            screen.close_view()
    return summary


def _play(demo: Demo, screen: Screen, started: float, seconds: float) -> None:
    waiting = demo.uploads()

    def send_or_end(passed: float) -> bool:
        if waiting and passed > min(_QUIET_START_SECONDS, seconds / 4):
            demo.send(waiting.pop())
            if not waiting:
                screen.say(f"Uploaded {MAILS} mails and {PDFS} PDFs; each mail has a PDF attached.")
        return demo.over or passed > seconds

    _watch(demo, screen, started, send_or_end)


def _watch(demo: Demo, screen: Screen, started: float, ended: Callable[[float], bool]) -> None:
    """Look and show, again and again, until told to end or ``ended(seconds since the start)``."""
    while not demo.stop.wait(_REFRESH_SECONDS):
        passed = time.monotonic() - started
        over = ended(passed)
        status, story = demo.look(), demo.story
        screen.show(status, story.decisions, sent=story.documents, done=story.done, seconds=passed)
        if over:
            return


def _tell(screen: Screen, summary: Summary) -> None:
    screen.say(
        f"Sent {summary.documents} documents in {summary.files} files, done {summary.done},"
        f" lost {summary.lost}, run twice {summary.run_twice}."
        f" Processes {summary.start_processes} -> {summary.peak_processes} -> {summary.final_processes}."
    )
    screen.say(
        f"From arrival until read: p50 {summary.document_p50_seconds} s,"
        f" p95 {summary.document_p95_seconds} s; {summary.seconds} s in all."
    )


def _show_pages(demo: Demo, screen: Screen) -> None:
    for filters in (_BY_PREFIX, _BY_PART):
        begun = time.monotonic()
        page = demo.service.page(filters, limit=_SHOWN_ROWS)
        milliseconds = (time.monotonic() - begun) * 1000
        rows = [[str(row[name] or "") for name in _SHOWN_COLUMNS] for row in page["rows"]]
        found = f"{len(rows)} of {page['total']} documents in {milliseconds:.0f} ms"
        screen.table(f"GET {grid_path(filters, limit=_SHOWN_ROWS)}: {found}", _SHOWN_COLUMNS, rows)


def _show_addresses(demo: Demo, screen: Screen) -> None:
    service, token = demo.service, demo.service.token()
    example = f"{service.url}{grid_path(_BY_PART, limit=1)}"
    screen.say(f"API, to try out   {service.url}/docs")
    screen.say(f"Its metrics       {service.url}/metrics")
    screen.say(f"The autoscaler    {demo.page}/status and {demo.page}/metrics")
    screen.say(f"Demo token        {token} (system_admin; ends with the demo)")
    screen.say(f"curl -H 'Authorization: Bearer {token}' '{example}'")


def succeeded(summary: Summary) -> bool:
    """Whether the demo showed what it is for: growth, shrink, nothing lost."""
    grew = summary.peak_processes > summary.start_processes
    whole = summary.done == DOCUMENTS and summary.run_twice == 0
    return grew and whole and summary.final_processes == 1


def interrupted_by() -> tuple[signal.Signals, ...]:
    """The signals that end the demo in good order."""
    found = [signal.SIGINT, signal.SIGTERM]
    with suppress(AttributeError):
        found.append(signal.SIGHUP)
    return tuple(found)
