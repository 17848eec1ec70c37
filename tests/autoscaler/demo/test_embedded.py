"""Processes that the demo and the tests start: what becomes of them and of all that they have started."""

from __future__ import annotations

import os
import signal
import sys
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


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is a signal on Linux alone")
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_with_the_one_that_has_started_it(tmp_path: Path, ended_by: signal.Signals) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from autoscaler.demo.embedded import Process\n"
        "with Process(('sleep', '600'), log_path=pathlib.Path(sys.argv[1])) as one:\n"
        "    print(one.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    words = (sys.executable, "-c", code, tmp_path / "sleep.log")
    # In a session of its own, so that only the parent's end can end it.
    with Process(words, log_path=tmp_path / "log") as parent:
        parent.wait_until(lambda: parent.log().endswith("\n"), within_seconds=30, what="its child")
        child = psutil.Process(int(parent.log()))
        parent.send(ended_by)
        parent.wait(within_seconds=30)
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_gets_no_variable_that_it_is_to_be_without_unless_it_is_given(tmp_path):
    shown = (sys.executable, "-c", "import os; print(*os.environ)")
    given = {"PATH_OF_ITS_OWN": "1", "OTHER": "2"}
    with Process(shown, log_path=tmp_path / "log", environment=given, without=("PATH",)) as process:
        assert process.wait(within_seconds=60) == 0
        names = process.log().split()
    assert ("PATH" in os.environ, "PATH" in names, given.keys() <= {*names}) == (True, False, True)
