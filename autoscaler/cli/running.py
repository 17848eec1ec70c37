"""What long-running commands share: how a signal ends them, and the pages they serve."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from autoscaler.cli.options import fail
from autoscaler.report.web import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from autoscaler.report.web import Pages


class OutOfTimeError(BaseException):
    """The end took too long: raised wherever the main thread waits. No ``except Exception`` stops it."""


@contextmanager
def until_signalled(*signals: signal.Signals, within_seconds: float | None = None) -> Iterator[Event]:
    """An event that is set by the first of these signals; the earlier handlers are restored at the end.

    With ``within_seconds``, what still runs so long after a signal is cut short: a server that does not
    answer holds nobody up.

    Raises:
        OutOfTimeError: in the main thread, once that time is over.
    """
    stop = Event()

    def signalled(*_: object) -> None:
        if within_seconds is not None and not stop.is_set():
            # Again and again: closing a connection may wait for the same server.
            signal.setitimer(signal.ITIMER_REAL, within_seconds, 0.1)
        stop.set()

    def out_of_time(*_: object) -> None:
        raise OutOfTimeError

    handlers = dict.fromkeys(signals, signalled)
    if within_seconds is not None:
        handlers[signal.SIGALRM] = out_of_time
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        if within_seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_pages(stack: ExitStack, pages: Pages, listen: tuple[str, int]) -> str:
    """Serve the pages as long as the stack is open; returns the address with the port that was bound."""
    host, port = listen
    try:
        return f"{host}:{stack.enter_context(serving(pages, host, port))}"
    except OSError as fault:
        fail([f"cannot listen on {host}:{port}: {fault.strerror}; give another --listen HOST:PORT"], 1)
