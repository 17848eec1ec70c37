"""The container's health check, against a running API and where none is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from click.testing import CliRunner

from autoscaler.demo.embedded import free_port
from docservice.cli.main import main

Live = Any  # of conftest


def healthcheck(*words: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "docservice", "healthcheck", *words]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout or done.stderr).strip()


def test_a_health_check_prints_what_the_api_answers(live: Live):
    port = live.url.rpartition(":")[2]
    code, printed = healthcheck(DOCSERVICE_HTTP_PORT=port)
    assert (code, '"status":"alive"' in printed) == (0, True)
    code, printed = healthcheck("--port", port, "--ready")
    assert (code, '"status":"ready"' in printed) == (0, True)
    listed = CliRunner().invoke(main, ["healthcheck", "--port", port])
    assert (listed.exit_code, '"status":"alive"' in listed.output) == (0, True)


def test_a_health_check_fails_where_nothing_listens_and_where_the_port_is_invalid():
    port = free_port()
    code, printed = healthcheck("--port", str(port))
    assert (code, printed.startswith(f"docservice: the API does not answer on port {port}: ")) == (1, True)
    legal = "it must be a port, for instance 8000"
    assert healthcheck(DOCSERVICE_HTTP_PORT="http") == (
        2,
        f"docservice: DOCSERVICE_HTTP_PORT is 'http'; {legal}",
    )
    assert healthcheck("--port", "70000") == (2, f"docservice: --port is '70000'; {legal}")
    line = "docservice: unrecognized arguments: --redy; see docservice healthcheck --help"
    assert healthcheck("--redy") == (2, line)
