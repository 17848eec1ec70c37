"""What the workers say of their pools, over Celery's remote control.

A worker with the companion answers ``pool_report``: one call, counts only. One without is asked by stock
commands: ``stats`` for the true size, ``active`` for what runs and, only where every process is busy,
``reserved``. Silent names are asked less and less often, so that a mailbox left behind by ``kill -9``
does not cost a timeout in every tick.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from autoscaler.core.model import PoolKind, WorkerReading
from autoscaler.sensors.container import container_reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_POOLS = {
    "prefork": PoolKind.PREFORK,
    "gevent": PoolKind.GEVENT,
    "eventlet": PoolKind.EVENTLET,
    "thread": PoolKind.THREADS,
    "threads": PoolKind.THREADS,
    "solo": PoolKind.SOLO,
}
#: A float holds every whole number up to here; no size and no time comes near it.
_MOST = 2**53
_FIRST_PATIENCE_SECONDS = 5.0
_LONGEST_PATIENCE_SECONDS = 60.0
_ROLL_CALL_EVERY_SECONDS = 600.0
#: Stock workers tell whole seconds, and a reply may take a moment.
_UPTIME_TOLERANCE_SECONDS = 3.0
#: No worker has this name: Celery's are never without an @.
_NO_WORKER = "nobody"

Reply = dict[str, Any]
_Shape = TypeVar("_Shape", dict[str, Any], list[Any])


class RemoteCall(Protocol):
    """One remote-control command to named workers, with bounded time."""

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The replies by worker; one that is missing did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersReading:
    """The workers that answered, those asked in vain, and names that more than one worker answers to."""

    workers: tuple[WorkerReading, ...] = ()
    unresponsive: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


def pool_kind(implementation: object) -> PoolKind:
    """The kind of pool from ``stats``'s ``celery.concurrency.prefork:TaskPool`` or a plain name."""
    name = str(implementation).partition(":")[0].rpartition(".")[2]
    return _POOLS.get(name, PoolKind.OTHER)


def parse_report(worker: str, report: Reply) -> WorkerReading:
    """A reading from a companion's ``pool_report``."""
    refusal = report.get("refusal")
    return WorkerReading(
        name=worker,
        pool=pool_kind(report.get("pool")),
        processes=_count(report.get("size")),
        retiring=_count(report.get("retiring")) or 0,
        busy=_count(report.get("busy")),
        reserved=_count(report.get("reserved")),
        scheduled=_count(report.get("scheduled")),
        completed=_count(report.get("completed")),
        uptime_seconds=_number(report.get("uptime_seconds")),
        prefetch=_count(report.get("prefetch")),
        queues=tuple(sorted(str(queue) for queue in _list(report.get("queues")))),
        autoscale=bool(report.get("autoscale")),
        companion=refusal is None,
        companion_refusal=None if refusal is None else str(refusal),
        start_seconds=_number(report.get("start_seconds")),
        container=container_reading(report),
    )


def parse_stats(worker: str, stats: Reply) -> WorkerReading:
    """A reading from stock ``stats``, without the counts of tasks."""
    pool = _mapping(stats.get("pool"))
    kind = pool_kind(pool.get("implementation"))
    processes = pool.get("processes")
    size: int | None
    if kind is PoolKind.PREFORK:
        # `max-concurrency` never moves from the -c value; the list of processes does.
        size = len(processes) if isinstance(processes, list) else None
    elif kind is PoolKind.SOLO:
        size = 1
    else:
        size = _count(pool.get("max-concurrency"))
    totals = stats.get("total")
    started = sum(_count(count) or 0 for count in totals.values()) if isinstance(totals, dict) else None
    return WorkerReading(
        name=worker,
        pool=kind,
        processes=size,
        completed=started,
        uptime_seconds=_number(stats.get("uptime")),
        prefetch=_count(stats.get("prefetch_count")),
        autoscale="autoscaler" in stats,
    )


def with_tasks(reading: WorkerReading, busy: int | None, reserved: int | None) -> WorkerReading:
    """The stock reading with its counts of tasks; ``completed`` held those started until now."""
    started = reading.completed
    completed = None if started is None or busy is None else max(0, started - busy)
    return replace(reading, busy=busy, reserved=reserved, completed=completed)


def is_unknown_command(reply: Reply) -> bool:
    """Whether a reply says that the worker does not know the command."""
    return str(reply.get("error", "")).startswith("KeyError(")


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 else int(number)


def _number(value: object) -> float | None:
    # JSON as Python reads it has NaN, infinities and whole numbers beyond any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
        return None
    return float(value)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


@dataclass(slots=True)
class _Acquaintance:
    """What the sensor keeps of one worker between ticks."""

    companion: bool | None = None
    uptime_seconds: float | None = None
    uptime_at: float | None = None
    roll_call_at: float = 0.0
    silent_since_seconds: float = 0.0
    ask_again_at: float = 0.0


class WorkerSensor:
    """Reads all workers, or those that are named, by targeted calls."""

    def __init__(self, remote: RemoteCall, named: Collection[str] = ()) -> None:
        self._remote = remote
        self._named = frozenset(named)
        self._known: dict[str, _Acquaintance] = {}

    def read(self, mailboxes: Collection[str], at: float) -> WorkersReading:
        """Ask every worker that is named, known or has a mailbox, and is due.

        Raises:
            OSError, kombu and redis errors: when the broker cannot be reached.
        """
        for gone in [name for name in self._known if name not in mailboxes and name not in self._named]:
            del self._known[gone]
        for name in {*self._named, *mailboxes}:
            self._known.setdefault(name, _Acquaintance())
        asked = sorted(
            name for name, one in self._known.items() if name in self._named or at >= one.ask_again_at
        )
        duplicates, absent = self._roll_call([n for n in asked if at >= self._known[n].roll_call_at], at)
        single = [name for name in asked if name not in duplicates | absent]
        found, without = _reports(
            self._remote, [name for name in single if self._known[name].companion is not False], duplicates
        )
        for names, companion in (([reading.name for reading in found], True), (without, False)):
            for name in names:
                self._known[name].companion = companion
        # After the reports: a worker that does not know the command is asked by stock commands at once.
        found += _stock(
            self._remote, [name for name in single if self._known[name].companion is False], duplicates
        )
        for reading in found:
            self._watch_uptime(reading, at)
        answered = {reading.name for reading in found} | duplicates
        for name in asked:
            self._grow_patience(name, at, silent=name not in answered)
        return WorkersReading(
            workers=tuple(sorted(found, key=lambda reading: reading.name)),
            unresponsive=tuple(name for name in asked if name not in answered),
            duplicates=tuple(sorted(duplicates)),
        )

    def _roll_call(self, names: Sequence[str], at: float) -> tuple[set[str], set[str]]:
        """Which of these names more than one worker answers to, and which none.

        A call ends with the last reply that it expects, before a namesake's can come: so it asks for one
        worker more than there are, and takes all of its time.
        """
        if not names:
            return set(), set()
        replies = self._remote.call("ping", {}, [*names, _NO_WORKER])
        duplicates = {name for name in names if len(replies.get(name, ())) > 1}
        for name in replies.keys() - duplicates:
            if name in self._known:
                self._known[name].roll_call_at = at + _ROLL_CALL_EVERY_SECONDS
        return duplicates, set(names) - replies.keys()

    def _watch_uptime(self, reading: WorkerReading, at: float) -> None:
        """A clock that does not go on from the last reading is a restarted worker's, or a namesake's."""
        one = self._known[reading.name]
        before, before_at = one.uptime_seconds, one.uptime_at
        one.uptime_seconds, one.uptime_at = reading.uptime_seconds, at
        if before is None or before_at is None or reading.uptime_seconds is None:
            return
        if abs(reading.uptime_seconds - before - (at - before_at)) > _UPTIME_TOLERANCE_SECONDS:
            one.roll_call_at = at
            one.companion = one.companion or None  # it may have come back with the companion: ask again

    def _grow_patience(self, name: str, at: float, *, silent: bool) -> None:
        one = self._known[name]
        if not silent:
            one.silent_since_seconds, one.ask_again_at = 0.0, 0.0
            return
        # The first silence is asked again at once; a worker may be busy for a moment.
        waits = one.silent_since_seconds
        one.ask_again_at = at + waits
        one.silent_since_seconds = min(_LONGEST_PATIENCE_SECONDS, max(_FIRST_PATIENCE_SECONDS, waits * 2))
        one.companion = one.companion or None


def ask(remote: RemoteCall, names: Sequence[str]) -> list[WorkerReading]:
    """What those of the named workers say that answer now; a name that more than one answers to is left out.

    Raises:
        OSError, kombu and redis errors: when the broker cannot be reached.
    """
    duplicates: set[str] = set()
    found, without = _reports(remote, names, duplicates)
    found += _stock(remote, without, duplicates)
    return sorted((one for one in found if one.name not in duplicates), key=lambda reading: reading.name)


def _call(
    remote: RemoteCall, command: str, workers: Sequence[str], duplicates: set[str], shape: type[_Shape]
) -> dict[str, _Shape]:
    """The replies of the expected shape; a name that answered twice is nobody's reading."""
    replies = remote.call(command, {}, workers) if workers else {}
    duplicates.update(name for name, several in replies.items() if len(several) > 1)
    return {
        name: several[0]
        for name, several in replies.items()
        if name not in duplicates and name in workers and several and isinstance(several[0], shape)
    }


def _reports(
    remote: RemoteCall, names: Sequence[str], duplicates: set[str]
) -> tuple[list[WorkerReading], list[str]]:
    """The readings of those with the companion, and the names of those that do not know it."""
    readings, without = [], []
    for name, reply in _call(remote, "pool_report", names, duplicates, dict).items():
        if is_unknown_command(reply):
            without.append(name)
        elif "error" not in reply:
            readings.append(parse_report(name, reply))
    return readings, without


def _stock(remote: RemoteCall, names: Sequence[str], duplicates: set[str]) -> list[WorkerReading]:
    """The readings of those without the companion."""
    stats = {
        name: parse_stats(name, reply)
        for name, reply in _call(remote, "stats", names, duplicates, dict).items()
        if "error" not in reply
    }
    active = _call(remote, "active", sorted(stats), duplicates, list)
    # An idle process takes a fetched task at once: only a full pool can hold reserved ones back.
    full = [name for name, tasks in active.items() if len(tasks) >= (stats[name].processes or 0)]
    reserved = _call(remote, "reserved", sorted(full), duplicates, list)
    # Never remembered: whether a worker consumes decides whether it may be shrunk or shut down.
    consumed = _call(remote, "active_queues", sorted(stats), duplicates, list)
    readings = []
    for name in sorted(stats.keys() - duplicates):
        busy = len(active[name]) if name in active else None
        fetched = len(reserved[name]) if name in reserved else None if name in full or busy is None else 0
        reading = with_tasks(stats[name], busy, fetched)
        readings.append(replace(reading, queues=_names(consumed.get(name)), queues_known=name in consumed))
    return readings


def _names(queues: list[Any] | None) -> tuple[str, ...]:
    found = (queue.get("name") for queue in queues or () if isinstance(queue, dict))
    return tuple(sorted(str(queue) for queue in found if queue))
