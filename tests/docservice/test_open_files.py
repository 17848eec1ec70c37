"""The limit on open files is raised as far as it may be, and never lowered."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = (
    "import resource; from docservice.open_files import raise_open_files;"
    "print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param("-Sn 256", "1024 1024 1024", id="up to the hard limit"),
        pytest.param("-Sn 1024", "1024 1024 1024", id="what is enough stays"),
    ],
)
def test_the_limit_is_raised_to_the_hard_limit(limits: str, expected: str) -> None:
    shell = ["sh", "-c", f'ulimit {limits} && ulimit -Hn 1024 && exec "$0" -c "$1"', sys.executable, CODE]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout.strip() == expected
