"""Work that a sensor does aside of the tick, and the wait for it at the end of the process."""

from __future__ import annotations

import threading
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ASIDE = "roll-call"


def run_in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` aside. A call cut short leaves replies behind: :func:`wait_for_threads` at the end."""
    Thread(target=work, name=_ASIDE, daemon=True).start()


def wait_for_threads(within_seconds: float) -> None:
    """Wait until what runs aside has ended, no longer than that: Redis may not answer."""
    for thread in threading.enumerate():
        if thread.name == _ASIDE:
            thread.join(timeout=within_seconds)


def run_inline(work: Callable[[], None]) -> None:
    """Run ``work`` here and now: for a single look, and for tests."""
    work()
