"""A Celery application of anyone's own: its tasks write down when they run."""

from __future__ import annotations

import json
import mmap
import os
import time
from pathlib import Path

import redis
from celery import Celery

app = Celery("anyones", broker=os.environ.get("BROKER", ""))
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "1")),
)
app.conf.update(json.loads(os.environ.get("SETTINGS", "{}")))
ledger = redis.Redis.from_url(os.environ.get("LEDGER") or os.environ.get("BROKER") or "redis://127.0.0.1:1")


@app.task(bind=True, name="nap")
def nap(self, seconds: float) -> None:  # type: ignore[no-untyped-def]
    ledger.hincrby("started", self.request.id, 1)
    time.sleep(seconds)
    ledger.hincrby("ended", self.request.id, 1)


@app.task(bind=True, name="timed")
def timed(self, sent_at: float, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """Write down when it was sent and how long it waited."""
    ledger.rpush("waits", json.dumps([sent_at, time.time() - sent_at]))
    time.sleep(seconds)
    ledger.hincrby("ended", self.request.id, 1)


@app.task(bind=True, name="fill")
def fill(self, mebibytes: int, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """Hold so much memory for so long."""
    ledger.hincrby("started", self.request.id, 1)
    held = bytearray(mebibytes * 2**20)
    held[::4096] = b"x" * len(held[::4096])  # every page, without a second copy
    time.sleep(seconds)
    del held
    ledger.hincrby("ended", self.request.id, 1)


@app.task(bind=True, name="reread")
def reread(self, mebibytes: int, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """Map a file of that size, made at the first call, and read it again and again."""
    ledger.hincrby("started", self.request.id, 1)
    path = Path(os.environ["TMPDIR"]) / f"mapped-{mebibytes}"
    if ledger.set("mapping", 1, nx=True):
        with path.open("wb") as file:
            file.writelines(b"x" * 2**20 for _ in range(mebibytes))
        ledger.set("mapped", 1)
    while not ledger.exists("mapped"):
        time.sleep(0.05)
    ends = time.monotonic() + seconds
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        while True:
            sum(mapped[at] for at in range(0, len(mapped), 4096))
            if time.monotonic() > ends:
                break
    ledger.hincrby("ended", self.request.id, 1)


_leaked: list[bytes] = []


@app.task(bind=True, name="leak")
def leak(self, mebibytes: int) -> None:  # type: ignore[no-untyped-def]
    """Keep so much memory for good."""
    ledger.hincrby("started", self.request.id, 1)
    _leaked.append(b"x" * (mebibytes * 2**20))
    time.sleep(0.2)
    ledger.hincrby("ended", self.request.id, 1)


@app.task(bind=True, name="hold")
def hold(self) -> None:  # type: ignore[no-untyped-def]
    """Run until the test says so, however slow the machine is."""
    ledger.hincrby("started", self.request.id, 1)
    while not ledger.exists("release"):
        time.sleep(0.05)
    ledger.hincrby("ended", self.request.id, 1)
