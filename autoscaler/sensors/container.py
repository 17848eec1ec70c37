"""What the container of one worker allows and uses, seen from outside of it.

A sidecar's own ``/sys/fs/cgroup`` shows the sidecar's limits. The worker's come from what an operator states,
from the files of a Kubernetes downward-API volume, or from the worker's process where its pid is known. What
the worker's companion reports fills the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import psutil

from autoscaler.core.model import ContainerReading
from autoscaler.sensors import values
from autoscaler.worker.cgroup import CgroupReading, keep_known, read_cgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path


#: Fields that say something of another: they go with it.
_LIMITED = frozenset({"cpu_limited", "memory_limited", "memory_limit_stated"})
_MAX_ID = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
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
    return int(text) if re.fullmatch(r"\s*0*[1-9][0-9]{0,18}\s*", text, re.ASCII) else None


def overlay(stated: ContainerReading | None, reported: ContainerReading | None) -> ContainerReading | None:
    """``reported`` with every value that ``stated`` knows put over it."""
    if stated is None or reported is None:
        return stated or reported
    known = {
        name: value
        for name, value in stated._asdict().items()
        if name not in _LIMITED and value not in {None, ()}
    }
    if stated.memory_limit_bytes is not None:
        # Where it is the group's own limit, the group's use belongs to it.
        same = reported.memory_limited and reported.memory_limit_bytes == stated.memory_limit_bytes
        known["memory_limit_stated"] = stated.memory_limited and not same
    for limit, limited in (("cpu_limit_cores", "cpu_limited"), ("memory_limit_bytes", "memory_limited")):
        if limit in known:
            known[limited] = getattr(stated, limited)
    return reported._replace(**known)


def container_reading(report: Mapping[str, Any]) -> ContainerReading:
    """The container's part of a companion's ``pool_report``; what is missing or makes no sense is unknown."""
    container = report.get("container")
    group: Mapping[str, Any] = container if isinstance(container, dict) else {}
    peaks = report.get("child_peak_bytes")
    peak: Mapping[str, Any] = peaks if isinstance(peaks, dict) else {}
    sizes = report.get("child_rss_bytes")
    resident = map(values.count, sizes if isinstance(sizes, list | tuple) else ())
    shared = report.get("memory_shared")
    return ContainerReading(
        cpu_limit_cores=values.amount(group.get("cpu_limit_cores")),
        cpu_limited=bool(group.get("cpu_limited")),
        cpu_usage_seconds=values.amount(group.get("cpu_usage_seconds")),
        throttled_seconds=values.amount(group.get("throttled_seconds")),
        memory_limit_bytes=values.count(group.get("memory_limit_bytes")),
        memory_limited=bool(group.get("memory_limited")),
        memory_used_bytes=values.count(group.get("memory_used_bytes")),
        parent_rss_bytes=values.count(report.get("parent_rss_bytes")),
        child_rss_bytes=tuple(size for size in resident if size is not None),
        child_peak_bytes=values.count(peak.get("max")),
        child_peak_p95_bytes=values.count(peak.get("p95")),
        child_shared_bytes=values.count(report.get("child_shared_bytes")),
        worker_memory_bytes=values.count(report.get("worker_memory_bytes")),
        memory_shared=shared if isinstance(shared, bool) else None,
        oom_kills=values.count(group.get("oom_kills")),
        memory_failcnt=values.count(group.get("memory_failcnt")),
        memory_pressure=values.amount(group.get("memory_pressure")),
        container_id=_identity(group.get("container_id")),
        cpu_limit_id=_identity(group.get("cpu_limit_id")),
    )


def _identity(found: object) -> str | None:
    return found[:_MAX_ID] if isinstance(found, str) and found else None


class ContainerSensor:
    """Reads one worker's container; unreadable limits keep their last good value.

    ``find_worker`` answers where the pid is ``auto``; it raises LookupError where no one worker is there.
    """

    def __init__(self, source: ContainerSettings, find_worker: Callable[[], int] | None = None) -> None:
        self._source = source
        self._find_worker = find_worker or find_worker_pid
        self._last: CgroupReading | None = None
        self._last_limits: dict[str, int] = {}
        self._found: int | None = None

    def read(self) -> ContainerReading | None:
        """The current reading, or None where nothing is stated and nothing is known."""
        source = self._source
        reading = self._from_process()
        millicores = self._from_volume("cpu_limit")
        volume_cores = None if millicores is None else millicores / 1000
        cores = source.cpu_limit_cores if source.cpu_limit_cores is not None else volume_cores
        memory = source.memory_limit_bytes or self._from_volume("memory_limit")
        if cores is None and memory is None:
            return reading
        stated = ContainerReading(
            cpu_limit_cores=cores,
            cpu_limited=cores is not None,
            memory_limit_bytes=memory,
            memory_limited=memory is not None,
        )
        return overlay(stated, reading)

    def _from_volume(self, name: str) -> int | None:
        found = _read_limit(self._source.limits_folder, name)
        if found is not None:
            self._last_limits[name] = found
        return self._last_limits.get(name)

    def _pid(self) -> int | None:
        wanted = self._source.worker_pid
        if wanted != "auto":
            return wanted
        if self._found is None or not psutil.pid_exists(self._found):
            try:
                self._found = self._find_worker()
            except LookupError:
                self._found = None  # the worker is yet to come, or gone
        return self._found

    def _from_process(self) -> ContainerReading | None:
        pid = self._pid()
        if pid is None:
            return None
        self._last = now = keep_known(self._last, read_cgroup(pid))
        parent, children = _resident(pid)
        return container_reading(
            {"container": now.as_json(), "parent_rss_bytes": parent, "child_rss_bytes": children}
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


def is_worker(command: Sequence[str]) -> bool:
    """Whether a command line is a Celery worker's own, not that of what started it (tini, uv, a shell)."""
    if not command or not re.match(r"(python|pypy)[0-9.]*$", command[0].rpartition("/")[2]):
        return False
    script = next((word for word in command[1:] if not word.startswith("-")), "")
    runs_celery = script.rpartition("/")[2] == "celery" or ("-m", "celery") in pairwise(command)
    return runs_celery and "worker" in command


def choose_worker(processes: Iterable[tuple[int, int, Sequence[str]]]) -> int:
    """The pid of the one Celery worker among processes of (pid, parent's pid, command line).

    Raises:
        LookupError: where there is none, or more than one.
    """
    parents = {pid: parent for pid, parent, command in processes if is_worker(command)}
    # The processes of a prefork pool have their worker's command line.
    mains = [pid for pid, parent in parents.items() if parent not in parents]
    if len(mains) != 1:
        raise LookupError(
            f"{len(mains)} Celery workers are visible from here, and one is needed; share the process"
            " namespace with the worker's container alone, or give --worker-pid a number"
        )
    return mains[0]


def find_worker_pid() -> int:
    """The pid of the one Celery worker that this process can see (a shared process namespace).

    Raises:
        LookupError: where there is none, or more than one.
    """
    visible = (one.info for one in psutil.process_iter(["pid", "ppid", "cmdline"]))
    return choose_worker((info["pid"], info["ppid"], info["cmdline"] or []) for info in visible)
