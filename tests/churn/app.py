"""The worker's side of the churn: a task that writes down each of its runs, and a look at the pool's insides.

What is run is written to a Redis of its own, the ledger, that no scenario ever touches. Settings come from
the environment, since the worker is another process and may be another Python.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import time
from contextlib import suppress
from functools import cache
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_ready
from celery.worker.control import Panel, inspect_command
from redis import Redis

import tests.churn.insides  # noqa: F401 - its commands
from tests.churn.attempts import NEXT_ATTEMPT, RETRY_SECONDS

app = Celery("churn", broker=os.environ["CHURN_BROKER"])
app.conf.update(
    task_acks_late=os.environ.get("CHURN_ACKS") in {"late", "reject"},
    task_reject_on_worker_lost=os.environ.get("CHURN_ACKS") == "reject",
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("CHURN_PREFETCH", "4")),
    worker_hijack_root_logger=False,
    worker_pool_restarts=True,
    worker_proc_alive_timeout=60,  # a busy machine starts processes late, and Celery kills those after 4 s
    worker_disable_prefetch=bool(os.environ.get("CHURN_DISABLE_PREFETCH")),
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("CHURN_VISIBILITY_SECONDS", "3600"))
    },
)
if os.environ.get("CHURN_START_METHOD"):
    app.conf.worker_pool_start_method = os.environ["CHURN_START_METHOD"]
app.conf.update(json.loads(os.environ.get("CHURN_CONF", "{}")))

loaded_by = os.environ.get("CHURN_LOADED_BY")
if loaded_by:
    app.conf[loaded_by] = ["autoscaler.companion"]

open_files = os.environ.get("CHURN_OPEN_FILES")
if open_files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(open_files), int(open_files)))


@worker_ready.connect  # type: ignore[untyped-decorator]
def change_shape(sender: Any, **_: Any) -> None:
    """Stand for a version in which a private attribute has become something else."""
    if os.environ.get("CHURN_CHANGED_SHAPE"):
        sender.pool._pool._active_writes = list(sender.pool._pool._active_writes)


@cache
def ledger() -> Redis:
    """One client for each process."""
    # Without a timeout: a task may hold its process for as long as a busy machine needs.
    return Redis.from_url(os.environ["CHURN_LEDGER"], decode_responses=True, socket_timeout=None)


@app.task(bind=True, name="churn.work")  # type: ignore[untyped-decorator]
def work(self: Any, number: int, seconds: float, retries: int = 0, mebibytes: int = 0) -> None:
    """Write down the start, take ``seconds``, write down the end; a soft time limit ends it early.

    It holds ``mebibytes`` meanwhile.

    It is retried ``retries`` times, and each attempt is written down under a number of its own.
    """
    number += self.request.retries * NEXT_ATTEMPT
    again = bool((self.request.delivery_info or {}).get("redelivered"))
    pid = os.getpid()
    with ledger().pipeline() as both:
        both.hincrby("starts", str(number), 1)
        both.hset("running", str(pid), number)
        both.hsetnx("first_start", str(number), time.time())
        if again:
            both.sadd("redelivered", number)
        both.execute()
    held = bytearray(b"x") * (mebibytes * 2**20)
    with suppress(SoftTimeLimitExceeded):
        time.sleep(seconds)
    del held
    with ledger().pipeline() as both:
        both.hincrby("ends", str(number), 1)
        both.hdel("running", str(pid))
        both.execute()
    if self.request.retries < retries:
        raise self.retry(countdown=RETRY_SECONDS, max_retries=retries)


@app.task(name="churn.hold")  # type: ignore[untyped-decorator]
def hold(key: str) -> None:
    """Occupy a process until something is pushed on ``key`` of the ledger."""
    ledger().rpush(f"{key}:held", os.getpid())
    ledger().blpop([key], timeout=600)
    ledger().rpush(f"{key}:ended", os.getpid())


@app.task(name="churn.fill")  # type: ignore[untyped-decorator]
def fill(key: str, megabytes: int) -> None:
    """Hold so much memory for a moment, then say so on ``key`` of the ledger."""
    filled = bytearray(b"x") * (megabytes * 2**20)
    ledger().rpush(key, len(filled))


@inspect_command()  # type: ignore[untyped-decorator]
def churn_cost(state: Any) -> float:
    """Milliseconds that a report takes the worker's loop, the median of 101."""
    report = Panel.data["pool_report"]
    taken = []
    for _ in range(101):
        began = time.perf_counter()
        report(state)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[50] * 1000


@inspect_command()  # type: ignore[untyped-decorator]
def churn_restore_mailbox(state: Any) -> int:
    """Look after the mailbox now and not when the timer comes to it."""
    mailbox = importlib.import_module("autoscaler.worker.mailbox")
    return int(mailbox.restore_mailbox(state.consumer))
