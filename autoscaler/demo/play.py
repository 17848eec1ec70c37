"""``autoscaler demo``: a real worker grows under a backlog and shrinks when it is gone.

It starts everything of :mod:`autoscaler.demo.services`, uploads a burst of mails and PDFs, shows what
happens, counts the outcome, and reads some pages of the result. Everything it started ends with it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.demo.documents import grid_path
from autoscaler.demo.embedded import EmbeddedError
from autoscaler.demo.services import DAEMON_FLAGS, DOCUMENTS, MAILS, PDFS, Demo, InterruptedDemoError
from autoscaler.demo.view import PlainScreen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from autoscaler.demo.view import Screen

__all__ = ["EmbeddedError", "InterruptedDemoError", "Summary", "interrupted_by", "run_demo", "succeeded"]

_QUIET_START_SECONDS = 1.5
_REFRESH_SECONDS = 0.25
_BY_PREFIX = {"mail_number.prefix": "MN-2023", "sort": "mail_number"}
_BY_PART = {"mail_number.contains": "551"}
_SHOWN_COLUMNS = ("mail_number", "document_type", "title", "sender", "size_bytes", "pages")
_SHOWN_ROWS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The outcome of the demo. Files are uploaded, documents are those and what was attached to them.

    ``not_processed`` documents were still in the queue when the demo ended early; ``lost`` are those that
    were sent, not read, and no longer in the queue. ``peak_processes`` counts what the worker reported and
    each resize that was done. ``shortest_target_seconds`` is the shortest target wait that growth can keep on
    this machine, as busy as it is, None where that is not known.

    The seconds of a document count from its arrival until it was read. ``within_target`` is the share of the
    sent documents that were read within the target wait; both are None where thresholds decide.
    """

    files: int
    documents: int
    done: int
    not_processed: int
    lost: int
    run_twice: int
    start_processes: int
    peak_processes: int
    final_processes: int
    document_p50_seconds: float | None
    document_p95_seconds: float | None
    target_wait_seconds: float | None
    shortest_target_seconds: float | None
    within_target: float | None
    cores: int
    seconds: float


@contextmanager
def open_screen(*, quiet: bool) -> Iterator[Screen]:
    """A live view where standard output is a terminal and rich is installed, else plain lines.

    ``quiet`` writes them to standard error, so that a program alone reads standard output.
    """
    if quiet or not sys.stdout.isatty():
        yield PlainScreen(sys.stderr if quiet else sys.stdout)
        return
    from autoscaler.demo.terminal import LiveScreen  # noqa: PLC0415 - rich is there for terminals only

    screen = LiveScreen()
    try:
        yield screen
    finally:
        screen.close_view()


def run_demo(
    *,
    seconds: float,
    as_json: bool,
    keep: bool,
    stop: Event,
    opener: Callable[[str], None] | None = None,
) -> Summary:
    """Play the demo for at most ``seconds`` after everything is up, or until it is over.

    ``opener`` opens an address in a browser once Enter is pressed, None where there is no desktop.

    Raises:
        EmbeddedError: where a server or a process does not come up.
        InterruptedDemoError: when ``stop`` is set before all of them are.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoscaler-demo-")))
        folder.chmod(0o711)  # Postgres runs as another user when we are root
        screen = stack.enter_context(open_screen(quiet=as_json))
        demo = Demo(stack, folder, stop)
        target = _start(demo, screen)
        # What is not kept is gone when a file of this output is read.
        lasts = keep or screen.live
        if lasts:
            offer = "" if opener is None else "   (press Enter to open it)"
            screen.say(f"Watch it in a browser: {demo.page}/{offer}")
            if opener is not None:
                opener(f"{demo.page}/")
        started = time.monotonic()
        _play(demo, screen, started, seconds)
        screen.close_view()
        if stop.is_set():
            screen.say("Stopping ...")
        summary = _summarize(demo, target, time.monotonic() - started)
        _report(screen, summary)
        if not stop.is_set():
            _show_pages(demo, screen)
            if not keep:
                screen.say("Everything it started ends now; --keep leaves it running to look around.")
        if as_json:
            print(json.dumps(asdict(summary)), flush=True)  # noqa: T201 - the last line is for a program
        if keep and not stop.is_set():
            _explore(demo, screen, started)
    return summary


def _start(demo: Demo, screen: Screen) -> float | None:
    """Start everything; returns the target wait that the daemon keeps to, or None where it has none."""
    begun = time.monotonic()
    screen.say("Starting Valkey, Postgres, an API, a Celery worker with one process, and the autoscaler ...")
    try:
        demo.start()
    except InterruptedDemoError:
        screen.say("Stopping ...")
        raise
    flags = " ".join(word for pair in DAEMON_FLAGS.items() for word in pair)
    screen.say(f"All of them are up after {time.monotonic() - begun:.1f} s.")
    target: float | None = (demo.status() or {}).get("target_wait_seconds")
    policy = f"its default policy (every task starts within {target:g} s)" if target else "thresholds"
    screen.say(f"The autoscaler runs {policy} with {flags}.")
    return target


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
    """Look and show, again and again, until stopped or ``ended(seconds since the start)``."""
    while not demo.stop.wait(_REFRESH_SECONDS):
        passed = time.monotonic() - started
        over = ended(passed)
        status, story = demo.look(), demo.story
        screen.show(status, story.decisions, sent=story.documents, done=story.done, seconds=passed)
        if over:
            return


def _explore(demo: Demo, screen: Screen, started: float) -> None:
    """Leave everything running until stopped, with a view that vanishes then."""
    _show_addresses(demo, screen)
    screen.say("All of it stays up: upload, look around. Ctrl-C ends it all.")
    screen.open_view(transient=True)
    _watch(demo, screen, started, lambda _: False)
    screen.close_view()
    screen.say("Stopping ...")


def _summarize(demo: Demo, target: float | None, seconds: float) -> Summary:
    demo.look()
    story = demo.story
    taken = demo.service.seconds_to_processed()
    sizes = story.sizes or [0]
    left = story.documents - len(taken)
    queued = left if demo.stop.is_set() or story.busy else 0
    in_time = None if target is None else sum(each <= target for each in taken)
    return Summary(
        files=story.files,
        documents=story.documents,
        done=len(taken),
        not_processed=queued,
        lost=left - queued,
        run_twice=demo.service.read_twice(),
        start_processes=sizes[0],
        peak_processes=max(story.largest, *sizes),
        final_processes=sizes[-1],
        document_p50_seconds=quantile(taken, 0.5),
        document_p95_seconds=quantile(taken, 0.95),
        target_wait_seconds=target,
        shortest_target_seconds=story.shortest_target,
        within_target=None if in_time is None else round(in_time / max(1, story.documents), 4),
        cores=len(os.sched_getaffinity(0)),
        seconds=round(seconds, 1),
    )


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that ``share`` of the ordered ones do not exceed (nearest rank), or None."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)


def _report(screen: Screen, summary: Summary) -> None:
    screen.say(
        f"{outcome(summary)}"
        f" Processes {summary.start_processes} -> {summary.peak_processes} -> {summary.final_processes}."
    )
    screen.say(
        f"From arrival until read: p50 {or_none(summary.document_p50_seconds)},"
        f" p95 {or_none(summary.document_p95_seconds)}; {summary.seconds} s in all."
    )
    screen.say(against_target(summary))
    missing = shortfall(summary)
    if missing is not None:
        screen.say(f"The exit code is 1: {missing}.")


def outcome(summary: Summary) -> str:
    """What became of the documents, in a sentence; those still in the queue are not lost."""
    sent = f"Sent {summary.documents} documents in {summary.files} files"
    counts = f"lost {summary.lost}, run twice {summary.run_twice}."
    if summary.not_processed:
        queued = f"{summary.not_processed} not processed yet (still in the queue)"
        return f"{sent}; stopped early: {summary.done} done, {queued}, {counts}"
    return f"{sent}, done {summary.done}, {counts}"


def or_none(seconds: float | None) -> str:
    """A number of seconds, or that there is none."""
    return "none" if seconds is None else f"{seconds} s"


def against_target(summary: Summary) -> str:
    """The p95 beside the target wait, in a sentence that holds where the target was missed, too."""
    target, p95 = summary.target_wait_seconds, summary.document_p95_seconds
    if target is None or p95 is None or summary.within_target is None:
        return "There was no target wait to compare with, or no document was read."
    if summary.not_processed and summary.done:
        in_time = summary.within_target * summary.documents / summary.done
        read = f"Of the {summary.done} read so far, {in_time:.1%}"
        return f"{read} were read within the target wait of {target:g} s."
    share = f"{summary.within_target:.1%} of the documents were read within it"
    if p95 <= target:
        return f"The target wait of {target:g} s was kept by the p95: {share}."
    return (
        f"The target wait of {target:g} s was missed by the p95: {share}. Reading is work for the CPU, and"
        f" this machine has {summary.cores} cores for all that runs here; more processes do not add cores."
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
    screen.say(f"Documents         {service.url}/ and {service.url}/admin")
    screen.say(f"API, to try out   {service.url}/docs")
    screen.say(f"Its metrics       {service.url}/metrics")
    screen.say(f"The autoscaler    {demo.page}/ and {demo.page}/metrics")
    screen.say(f"Demo token        {token} (system_admin; ends with the demo)")
    screen.say(f"curl -H 'Authorization: Bearer {token}' '{example}'")


def shortfall(summary: Summary) -> str | None:
    """What the demo did not show of growth, shrink and nothing lost, in a clause; None where it did."""
    longer = f"--seconds {max(120, 2 * math.ceil(summary.seconds))} gives it longer"
    if summary.lost or summary.run_twice:
        return "documents were lost or run twice"
    if summary.done != DOCUMENTS:
        return f"it ended before all {DOCUMENTS} documents were read; {longer}"
    if summary.peak_processes <= summary.start_processes:
        return "the pool did not grow, as one process read the documents in time"
    target, shortest = summary.target_wait_seconds, summary.shortest_target_seconds
    if summary.final_processes != 1:
        ended = f"it ended with {summary.final_processes} processes, not 1"
        if target is not None and shortest is not None and target < shortest:
            return (
                f"{ended}: as busy as this machine is, a process starts too late for a target wait below"
                f" {math.ceil(shortest)} s, so that what was needed is kept for an hour; try again when it"
                " has less to do"
            )
        return (
            f"{ended}: idle ones are kept for as long as that is cheaper than to start them again; {longer}"
        )
    return None


def succeeded(summary: Summary) -> bool:
    """Whether the demo showed what it is for: growth, shrink, nothing lost."""
    return shortfall(summary) is None


def interrupted_by() -> tuple[signal.Signals, ...]:
    """The signals that end the demo in good order."""
    found = [signal.SIGINT, signal.SIGTERM]
    with suppress(AttributeError):
        found.append(signal.SIGHUP)
    return tuple(found)
