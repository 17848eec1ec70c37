"""What the container of one worker allows, told from outside of it.

A sidecar's own ``/sys/fs/cgroup`` shows the sidecar's limits. The worker's come from what an operator states,
from the files of a Kubernetes downward-API volume, or from the worker's process where its pid is known. What
the worker's companion reports fills the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import psutil

from autoscaler.model import ContainerReading
from autoscaler.sensors.cgroup import CgroupReading, keep_known, read_cgroup

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSource:
    """Where the limits come from: stated values, a folder with ``cpu_limit`` and ``memory_limit``, a pid.

    ``cpu_limit`` in the folder is in millicores (``divisor: 1m``), ``memory_limit`` in bytes. The pid may be
    ``auto``: the one Celery worker that can be seen from here.
    """

    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    limits_folder: Path | None = None
    worker_pid: int | Literal["auto"] | None = None


def parse_limit(text: str) -> int | None:
    """A whole number above 0 from a downward-API file, else None."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None


def overlay(stated: ContainerReading | None, reported: ContainerReading | None) -> ContainerReading | None:
    """``reported`` with every value that ``stated`` knows put over it."""
    if stated is None or reported is None:
        return stated or reported
    known: dict[str, Any] = {}
    if stated.cpu_limit_cores is not None:
        known |= {"cpu_limit_cores": stated.cpu_limit_cores, "cpu_limited": stated.cpu_limited}
    if stated.memory_limit_bytes is not None:
        known |= {"memory_limit_bytes": stated.memory_limit_bytes, "memory_limited": stated.memory_limited}
    for name in ("cpu_usage_seconds", "throttled_seconds", "memory_used_bytes", "parent_rss_bytes"):
        if (value := getattr(stated, name)) is not None:
            known[name] = value
    if stated.child_rss_bytes:
        known["child_rss_bytes"] = stated.child_rss_bytes
    return replace(reported, **known)


class ContainerSensor:
    """Reads one worker's container; unreadable limits keep their last good value."""

    def __init__(self, source: ContainerSource) -> None:
        self._source = source
        self._last: CgroupReading | None = None
        self._found: int | None = None

    def read(self) -> ContainerReading | None:
        """The reading as it stands, or None where nothing is stated and nothing is known."""
        source = self._source
        reading = self._from_process()
        millicores = _read_limit(source.limits_folder, "cpu_limit")
        volume_cores = None if millicores is None else millicores / 1000
        cores = source.cpu_limit_cores if source.cpu_limit_cores is not None else volume_cores
        memory = source.memory_limit_bytes or _read_limit(source.limits_folder, "memory_limit")
        if cores is None and memory is None:
            return reading
        stated = ContainerReading(
            cpu_limit_cores=cores,
            cpu_limited=cores is not None,
            memory_limit_bytes=memory,
            memory_limited=memory is not None,
        )
        return overlay(stated, reading)

    def _pid(self) -> int | None:
        wanted = self._source.worker_pid
        if wanted != "auto":
            return wanted
        if self._found is None or not psutil.pid_exists(self._found):
            try:
                self._found = find_worker_pid()
            except LookupError:
                self._found = None  # the worker is yet to come, or gone
        return self._found

    def _from_process(self) -> ContainerReading | None:
        pid = self._pid()
        if pid is None:
            return None
        self._last = now = keep_known(self._last, read_cgroup(pid))
        parent, children = _resident(pid)
        return ContainerReading(
            cpu_limit_cores=now.cpu_limit_cores,
            cpu_limited=now.cpu_limited,
            cpu_usage_seconds=now.cpu_usage_seconds,
            throttled_seconds=now.throttled_seconds,
            memory_limit_bytes=now.memory_limit_bytes,
            memory_limited=now.memory_limited,
            memory_used_bytes=now.memory_used_bytes,
            parent_rss_bytes=parent,
            child_rss_bytes=children,
        )


def _read_limit(folder: Path | None, name: str) -> int | None:
    if folder is None:
        return None
    try:
        return parse_limit((folder / name).read_text())
    except (OSError, UnicodeDecodeError):
        return None


def _resident(pid: int) -> tuple[int | None, tuple[int, ...]]:
    """Resident bytes of a process and of each of its children."""
    try:
        parent = psutil.Process(pid)
        own = parent.memory_info().rss
        children = parent.children()
    except psutil.Error:
        return None, ()
    sizes = []
    for child in children:
        try:
            sizes.append(child.memory_info().rss)
        except psutil.Error:
            continue  # it ended in between
    return own, tuple(sizes)


def find_worker_pid() -> int:
    """The pid of the one Celery worker that this process can see (a shared process namespace).

    Raises:
        LookupError: where there is none, or more than one.
    """
    found = []
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.rpartition("/")[2] == "celery" for word in words) and "worker" in words:
            found.append(process.info)
    pids = {info["pid"] for info in found}
    mains = [info["pid"] for info in found if info["ppid"] not in pids]
    if len(mains) != 1:
        raise LookupError(
            f"{len(mains)} Celery workers are visible from here, and one is needed; share the process"
            " namespace with the worker's container alone, or give --worker-pid a number"
        )
    return int(mains[0])
