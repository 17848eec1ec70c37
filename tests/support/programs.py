"""Programs that no wheel brings. A test that needs one is skipped with the command that installs it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The Debian package of each program.
PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "git": "git",
    "npm": "npm",
    "openssl": "openssl",
    "pgbouncer": "pgbouncer",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-server": "redis-server",
    "systemd-analyze": "systemd",
    "unshare": "util-linux",
}


def needs(*programs: str) -> pytest.MarkDecorator:
    """Mark a test that needs ``programs``; ``-m needs`` selects all such tests.

    Raises:
        ValueError: for a program whose package is not in :data:`PACKAGES`.
    """
    unknown = sorted(set(programs) - PACKAGES.keys())
    if unknown:
        raise ValueError(f"no package is named for {', '.join(unknown)}; add it to PACKAGES")
    return pytest.mark.needs(*programs)


def skip_without_programs(items: Iterable[pytest.Item]) -> None:
    """Skip each marked test whose programs are not on PATH."""
    for item in items:
        named = {program for mark in item.iter_markers("needs") for program in mark.args}
        missing = sorted(program for program in named if shutil.which(program) is None)
        if missing:
            packages = " ".join(sorted({PACKAGES[program] for program in missing}))
            reason = f"{', '.join(missing)} not found on PATH: apt-get install {packages}"
            item.add_marker(pytest.mark.skip(reason=reason))
