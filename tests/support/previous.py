"""The program as it was released before: unpacked, to run beside the tree's.

``previous.tar.xz`` holds the two packages of that release and nothing else, so that the tests of upgrades
need no history of the repository and no registry. After a release put the new one there, in its own commit::

    uv run python -m tests.support.previous COMMIT
"""

from __future__ import annotations

import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests/support/previous.tar.xz"
PACKAGES = ("autoscaler", "docservice")


def unpack(folder: Path) -> Path:
    """The tree of the previous release, in ``folder``: what runs there as ``-m`` is that release.

    ``tests`` in it is the tree's own, for the Celery application of the tests.
    """
    folder.mkdir()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    (folder / "tests").symlink_to(ROOT / "tests")
    return folder


def main(commit: str) -> None:
    """Write the archive anew from a commit."""
    command = ("git", "archive", "--format=tar", commit, *PACKAGES)
    tar = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    ARCHIVE.write_bytes(lzma.compress(tar, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(sys.argv[1])
