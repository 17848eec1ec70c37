"""Processes that the demo and the tests start: what becomes of them and of all that they have started."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from autoscaler.demo.embedded import Process

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("stop_signal", [signal.SIGKILL, signal.SIGTERM], ids=["at once", "in order"])
def test_what_a_process_has_started_ends_with_it_though_it_ends_by_itself(
    tmp_path: Path, stop_signal: signal.Signals
) -> None:
    words = ("sh", "-c", "sleep 600 & echo $!; wait")
    process = Process(words, log_path=tmp_path / "log", stop_signal=stop_signal)
    process.wait_until(lambda: process.log().endswith("\n"), within_seconds=30, what="its child")
    child = psutil.Process(int(process.log()))
    assert process.stop() == -stop_signal
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
