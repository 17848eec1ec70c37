"""Work aside of the tick is waited for at the end, and no longer than is allowed."""

from __future__ import annotations

import time
from threading import Event

from autoscaler.sensors.aside import run_in_thread, run_inline, wait_for_threads


def test_work_inline_is_done_when_the_call_returns():
    done = Event()
    run_inline(done.set)
    assert done.is_set()


def test_the_end_waits_for_work_that_ends():
    go, done = Event(), Event()
    run_in_thread(lambda: (go.wait(20), done.set()))
    assert not done.is_set()
    go.set()
    wait_for_threads(20)
    assert done.is_set()


def test_the_end_does_not_wait_for_work_that_hangs():
    go = Event()
    run_in_thread(lambda: go.wait(60))
    begun = time.monotonic()
    wait_for_threads(0.05)
    go.set()
    assert time.monotonic() - begun < 30
    wait_for_threads(20)
