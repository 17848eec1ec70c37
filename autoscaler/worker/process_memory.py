"""What memory the worker's processes hold, and what they needed at their peak.

What belongs here: ``/proc/<pid>`` of this worker's processes, and the peaks of children that have ended.
What may never enter: control groups' limits (:mod:`.cgroup`), and work that grows with the number of
children: each report looks at a few of them in turn, so that it keeps the worker's loop for less than a
millisecond.

A child's resident size at one instant says little: idle children are small, and tasks of 80 MiB at once are
not. So the peak (``VmHWM``) of each child counts, and that of the dead ones by what the kernel adds up when
they are collected (``getrusage``), which misses none however short it lived.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from .cgroup import read_members

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

#: Children that are looked at in one report.
_LOOKS_PER_REPORT = 8
#: Peaks of ended children that are remembered.
_MAX_ENDED = 500
#: A look at shared pages walks all pages of a process: it may take this share of the time at most.
_MAX_WALK_SHARE = 0.0005
_MIN_WALK_SECONDS = 5.0
#: Seconds for which the answer holds whether others share the limit.
_MEMBERS_SECONDS = 30.0
_MAX_ANCESTRY = 30


class Process(NamedTuple):
    """A process as it was when it was last looked at."""

    resident: int
    peak: int


class ProcessMemory:
    """Reads the memory of one worker's processes; one instance for the life of the worker."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._living: dict[int, Process] = {}
        self._ended: deque[int] = deque(maxlen=_MAX_ENDED)  # peaks
        self._shared: dict[int, int] = {}  # the bytes of a process that others have too: resident less PSS
        self._turn = 0
        self._walk_at = 0.0
        self._members_at = -math.inf
        self._others: bool | None = None

    def read(self, children: Sequence[int]) -> dict[str, Any]:
        """The fields of the report.

        ``parent_rss_bytes`` and ``child_rss_bytes`` (one for each child that was looked at) are resident.
        ``child_peak_bytes`` has ``max``, ``p50`` and ``p95`` of the peaks of the ``children`` seen since the
        start, dead ones too; None where there is none. ``child_shared_bytes`` is the part of a child's
        resident size that others have too, so that a further child does not need it.
        ``worker_memory_bytes`` is what the worker's processes hold together (PSS; where that is not readable,
        resident). ``memory_shared`` is whether other processes live under the same memory limit.
        """
        own = os.getpid()
        self._forget_all_but(children)
        self._look_at_some(children)
        self._walk_one((own, *children))
        parent = look(own)
        shared = [self._shared[pid] for pid in self._living if pid in self._shared]
        shared_bytes = int(sum(shared) / len(shared)) if shared else None
        return {
            "parent_rss_bytes": parent.resident if parent else None,
            "parent_peak_bytes": parent.peak if parent else None,
            "child_rss_bytes": [child.resident for child in self._living.values()],
            "child_peak_bytes": self._peak_summary(),
            "child_shared_bytes": shared_bytes,
            "worker_memory_bytes": self._held(own, parent, len(children), shared_bytes or 0),
            "memory_shared": self._is_shared(own, children),
        }

    # -- sizes and peaks

    def _forget_all_but(self, children: Sequence[int]) -> None:
        present = set(children)
        for pid in [pid for pid in self._living if pid not in present]:
            self._ended.append(self._living.pop(pid).peak)
            self._shared.pop(pid, None)

    def _look_at_some(self, children: Sequence[int]) -> None:
        unseen = [pid for pid in children if pid not in self._living]
        for pid in (unseen + self._next_of(children))[:_LOOKS_PER_REPORT]:
            found = look(pid)
            if found is not None:
                self._living[pid] = found

    def _next_of(self, children: Sequence[int]) -> list[int]:
        count = min(_LOOKS_PER_REPORT, len(children))
        self._turn = (self._turn + count) % max(1, len(children))
        return [children[(self._turn + step) % len(children)] for step in range(count)]

    def _peak_summary(self) -> dict[str, int] | None:
        peaks = sorted((*(child.peak for child in self._living.values()), *self._ended))
        if not peaks:
            return None
        return {
            "max": max(peaks[-1], collected_peak_bytes()),
            "p50": peaks[math.ceil(0.50 * len(peaks)) - 1],
            "p95": peaks[math.ceil(0.95 * len(peaks)) - 1],
            "children": len(peaks),
        }

    # -- shared pages

    def _walk_one(self, pids: Sequence[int]) -> None:
        """Read the PSS of one more process, now and then: of those that were never walked, then in turn."""
        began = self._now()
        if began < self._walk_at:
            return
        walked = next((pid for pid in pids if pid not in self._shared), pids[self._turn % len(pids)])
        text = _read(f"/proc/{walked}/smaps_rollup")
        pss, resident = _find_kilobytes(text, b"Pss:"), _find_kilobytes(text, b"Rss:")
        if pss is not None and resident is not None:
            self._shared[walked] = max(0, resident - pss)
        took = self._now() - began
        self._walk_at = began + max(_MIN_WALK_SECONDS, took / _MAX_WALK_SHARE)

    def _held(self, own: int, parent: Process | None, children: int, typical: int) -> int | None:
        if parent is None:
            return None
        unshared = [
            max(0, child.resident - self._shared.get(pid, typical)) for pid, child in self._living.items()
        ]
        held = parent.resident - min(parent.resident, self._shared.get(own, typical))
        # Those not looked at yet are taken to be like the others.
        return int(held + (sum(unshared) / len(unshared) * children if unshared else 0))

    # -- others under the same limit

    def _is_shared(self, own: int, children: Collection[int]) -> bool | None:
        now = self._now()
        if now - self._members_at >= _MEMBERS_SECONDS:
            self._members_at = now
            members = read_members()
            self._others = None if members is None else has_others(members, own, children)
        return self._others


def has_others(members: Collection[int], own: int, children: Collection[int]) -> bool:
    """Whether there are processes that neither belong to the worker nor have started it (a shell, tini)."""
    family = {own, *children, *_ancestors(own)}
    return any(pid not in family and own not in _ancestors(pid) for pid in members)


def collected_peak_bytes() -> int:
    """The highest peak of all children that have ended; a program that a task awaits counts too."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # in kB


def look(pid: int) -> Process | None:
    """A process's memory by ``/proc/<pid>/status``, proc(5); None where it has ended or has none."""
    text = _read(f"/proc/{pid}/status")
    resident, peak = _find_kilobytes(text, b"VmRSS:"), _find_kilobytes(text, b"VmHWM:")
    return None if resident is None or peak is None else Process(resident, max(peak, resident))


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    while pid > 1 and len(found) < _MAX_ANCESTRY:
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:  # noqa: PTH123 - 3 us less each
                pid = int(stat.read(4096).rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
        found.append(pid)
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return file.read(8192)
    except OSError:
        return b""


def _find_kilobytes(text: bytes, key: bytes) -> int | None:
    start = text.find(b"\n" + key)
    fields = text[start + 1 + len(key) :].split(None, 1) if start >= 0 else []
    return int(fields[0]) * 1024 if fields and fields[0].isdigit() else None
