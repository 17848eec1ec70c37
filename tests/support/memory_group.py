"""A real control group (v1) with a memory limit, for the processes that a test starts in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.demo.embedded import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

V1 = Path("/sys/fs/cgroup/memory")
MIB = 2**20
_numbers = itertools.count()


def can_be_made() -> bool:
    """Whether this process may make one: as root, where v1 groups are writable."""
    return os.geteuid() == 0 and os.access(V1 / "cgroup.procs", os.W_OK)


class MemoryGroup:
    """A control group; a limit can be set at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def limit(self, mebibytes: int) -> None:
        """Set the limit."""
        (self.folder / "memory.limit_in_bytes").write_text(str(mebibytes * MIB))

    @property
    def used_bytes(self) -> int:
        """What its processes and their files hold."""
        return int((self.folder / "memory.usage_in_bytes").read_text())

    @property
    def oom_kills(self) -> int:
        """Processes that the OOM killer has ended in it."""
        words = (self.folder / "memory.oom_control").read_text().split()
        return int(words[words.index("oom_kill") + 1])

    def end(self) -> None:
        """End what is left in it, and remove it."""

        def gone() -> bool:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for pid in (self.folder / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):  # busy for a moment after its last process ended
                self.folder.rmdir()
            return not self.folder.exists()

        wait_until(gone, within_seconds=30, what=f"the removal of {self.folder}")


@contextlib.contextmanager
def memory_group(mebibytes: int) -> Iterator[MemoryGroup]:
    """A group of so much memory. What runs in it ends before it does."""
    folder = V1 / f"autoscaler-memory-{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    made = MemoryGroup(folder)
    try:
        made.limit(mebibytes)
        yield made
    finally:
        made.end()


def entering(*folders: Path) -> tuple[str, ...]:
    """The words before a command that put it into the groups of ``folders`` from its start."""
    enter = "".join(f"echo $$ > {folder}/cgroup.procs && " for folder in folders)
    return ("sh", "-c", f'{enter}exec "$0" "$@"')
