"""What the companion does without being asked: a step of the worker's consumer.

What belongs here: the start and end of that step, and of its timer. What may never enter: what is done at it.
Celery starts the step at each connection to the broker and stops it when that is lost, so the timer, which
some versions clear then, is there again.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.signals import worker_init
from celery.utils.log import get_logger

from . import pools
from .counts import watch_discarded
from .mailbox import CHECK_SECONDS, restore_mailbox

_log = get_logger(__name__)


class CompanionStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Prepares the pool, says so in the log, and looks after the mailbox."""

    requires = ("celery.worker.consumer.control:Control",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._entry: Any = None
        self._has_started = False

    def start(self, parent: Any) -> None:
        """Called at each connection."""
        if not self._has_started:
            self._has_started = True
            pools.prepare(parent)
            _log_loaded(parent)
        self._cancel()
        self._entry = parent.timer.call_repeatedly(CHECK_SECONDS, restore_mailbox, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Called when the connection is lost or the worker ends."""
        self._cancel()

    def _cancel(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.cancel()


def register() -> None:
    """Add the step to the worker that starts in this process; further calls do nothing."""
    watch_discarded()
    worker_init.connect(_add_step, weak=False, dispatch_uid=f"{__name__}.add")


def _add_step(sender: Any = None, **_: Any) -> None:
    steps = getattr(getattr(sender, "app", None), "steps", None)
    if steps is not None:
        steps["consumer"].add(CompanionStep)


def _log_loaded(consumer: Any) -> None:
    refusal = pools.refusal(consumer)
    can = "can be resized" if refusal is None else f"cannot be resized: {refusal}"
    _log.info("companion loaded: the %s pool %s", pools.kind_of(consumer.pool), can)
