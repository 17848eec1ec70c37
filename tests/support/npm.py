"""Packages of npm for a test, in a folder of its own: pinned, checked, and never part of the repository."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECONDS = 240


def install(folder: Path, packages: Mapping[str, str]) -> Path:
    """Install packages, each ``name@version`` with the SHA-512 of its archive; return ``node_modules``.

    No script of a package runs.

    Raises:
        AssertionError: when npm fails, or an archive is not the one that is pinned.
    """
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    found = {name: locked[f"node_modules/{name.rsplit('@', 1)[0]}"]["integrity"] for name in packages}
    assert found == {name: f"sha512-{digest}" for name, digest in packages.items()}
    return folder / "node_modules"
