"""Loaded by the worker under replay: a task that tells when it starts, processes that tell of their birth.

Times are of the system-wide monotonic clock, so that they compare with those of the publisher beside it.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init
from redis import Redis

TASK = "replay.nap"
STARTS = "replay:starts"
ENDS = "replay:ends"
BIRTHS = "replay:births"


@cache
def ledger() -> Redis:
    """One connection for each child; the parent never calls this."""
    return Redis.from_url(os.environ["LEDGER"])


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _tell_birth(**_: Any) -> None:
    ledger().incr(BIRTHS)


@shared_task(name=TASK)  # type: ignore[untyped-decorator]
def nap(number: int, seconds: float) -> None:
    """Write down the start, take ``seconds``, write down the end."""
    ledger().rpush(STARTS, f"{number} {time.monotonic()}")
    time.sleep(seconds)
    ledger().rpush(ENDS, number)
