"""The strict readers of the dependency group ``deploy``: each a program beside this interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

TOP = Path(__file__).parents[2]
MISSING = "{} is not installed: uv run pytest brings it"


def run_tool(
    name: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit code of a tool that looks at the repository, and what it said; skips where it is missing."""
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(MISSING.format(name))
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=TOP,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout
