"""Environments with another Celery than that of the tests."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: The newest patch of each, and what else it needs: Celery 5.3 and 5.4 allow a redis-py that kombu 5.6 and
#: newer refuse.
SUPPORTED = {"5.3": ("kombu<5.6",), "5.4": ("kombu<5.6",), "5.5": (), "5.6": (), "5.7": ()}


def python_with_celery(folder: Path, version: str) -> Path:
    """The Python of an environment with the newest patch of that Celery, in a new folder below this one."""
    return python_with(folder, f"celery[redis]=={version}.*", *SUPPORTED[version])


def python_with(folder: Path, *requirements: str) -> Path:
    """The Python of an environment of its own with these packages, else the test is skipped."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed, which makes the environment of another Celery")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = (uv, "pip", "install", "-q", "--python", python, *requirements)
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode and re.search(r"fetch|connect|dns|network|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("the package registry cannot be reached for another Celery")
    assert done.returncode == 0, done.stderr
    return python
