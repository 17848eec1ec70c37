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


@contextmanager
def until_signalled(*signals: signal.Signals) -> Iterator[Event]:
    """An event that is set by the first of these signals; the earlier handlers are restored at the end."""
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_pages(stack: ExitStack, pages: Pages, listen: tuple[str, int]) -> str:
    """Serve the pages as long as the stack is open; returns the address with the port that was bound."""
    host, port = listen
    try:
        return f"{host}:{stack.enter_context(serving(pages, host, port))}"
    except OSError as fault:
        fail([f"cannot listen on {host}:{port}: {fault.strerror}; give another --listen HOST:PORT"], 1)
