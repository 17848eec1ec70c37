"""What is remembered of workers' memory as text, so that it outlasts the process that learnt it.

Pure. Times are stored as seconds since the epoch and come back as monotonic seconds of the reader.
:func:`.memory.remember_memory` gives a record that came back to a worker only where the memory limit and the
queues are the same. Text from elsewhere is not trusted: a record that makes no sense is left out, and none
holds for longer than one that was learnt here.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from autoscaler.core import foreign_json
from autoscaler.core.memory import FORGET_SECONDS, MAX_BREACH_SECONDS, Breach, MemoryRecord, Peaks

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Records that are kept, the newest; each takes some 300 bytes.
MAX_RECORDS = 200
_MAX_NAME = 255
_MAX_QUEUES = 100
#: How far the clocks of the hosts that daemons run on one after another may be apart.
_MAX_SKEW_SECONDS = 60.0


def pack(records: Mapping[str, MemoryRecord], *, at: float, wall: float) -> str:
    """The records that say something, as JSON; ``at`` and ``wall`` are the same moment on the two clocks."""
    telling = [(name, one) for name, one in records.items() if one.limit_bytes and (one.peaks or one.breach)]
    telling.sort(key=lambda pair: (-pair[1].last_at, pair[0]))
    return json.dumps({name: _packed(one, wall - at) for name, one in telling[:MAX_RECORDS]})


def _packed(record: MemoryRecord, shift: float) -> dict[str, Any]:
    peaks, breach = record.peaks, record.breach
    return {
        "at": round(record.last_at + shift, 1),
        "limit": record.limit_bytes,
        "queues": record.queues[:_MAX_QUEUES],
        "container": record.container_id,
        "kills": record.kills,
        "oom_kills": record.oom_kills,
        "failcnt": record.memory_failcnt,
        "processes": record.processes,
        "tried": record.tried,
        "shared": record.shared_bytes,
        "peaks": None if peaks is None else [peaks.usual, peaks.largest, round(peaks.since + shift, 1)],
        "largest_since": None if peaks is None else round(peaks.largest_since + shift, 1),
        "breach": None
        if breach is None
        else [breach.ceiling, round(breach.until + shift, 1), breach.hold_seconds],
    }


def unpack(text: str | bytes, *, at: float, wall: float) -> dict[str, MemoryRecord]:
    """The records that were packed within the last hour."""
    try:
        found = foreign_json.loads(text)
    except (ValueError, RecursionError):
        return {}
    records = {}
    for name, stored in list(found.items())[:MAX_RECORDS] if isinstance(found, dict) else ():
        try:
            record = _unpacked(stored, at - wall)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            continue
        # A clock that jumped makes a record old, or one of the future.
        if len(name) <= _MAX_NAME and -_MAX_SKEW_SECONDS <= at - record.last_at <= FORGET_SECONDS:
            records[name] = record
    return records


def _unpacked(stored: Any, shift: float) -> MemoryRecord:
    queues, at = stored["queues"], _number(stored["at"])
    if not isinstance(queues, list) or not all(isinstance(queue, str) for queue in queues):
        raise TypeError
    record = MemoryRecord(
        last_at=at + shift,
        limit_bytes=_count(stored["limit"]),
        queues=tuple(queues[:_MAX_QUEUES]),
        container_id=None if stored["container"] is None else str(stored["container"]),
        kills=_count(stored["kills"]),
        earlier_kills=_count(stored["kills"]),
        oom_kills=_count_or_none(stored["oom_kills"]),
        memory_failcnt=_count_or_none(stored["failcnt"]),
        processes=max(1, _count(stored["processes"])),
        tried=stored["tried"] is True,
        shared_bytes=_count(stored["shared"]),
        restored=True,
    )
    if stored["peaks"] is not None:
        usual, largest, since = stored["peaks"]
        # An earlier version has stored one time for both.
        times = (since, since if stored.get("largest_since") is None else stored["largest_since"])
        reached, largest_reached = (min(_number(one), at) + shift for one in times)
        peaks = Peaks(_count(usual), _count(largest), reached, largest_reached)
        record = record._replace(peaks=peaks)
    if stored["breach"] is not None:
        ceiling, until, hold = stored["breach"]
        hold = max(0.0, min(_number(hold), MAX_BREACH_SECONDS))
        breach = Breach(
            ceiling=max(1, _count(ceiling)), until=min(_number(until), at + hold) + shift, hold_seconds=hold
        )
        record = record._replace(breach=breach)
    return record


def _number(value: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise ValueError
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError
    return value


def _count_or_none(value: Any) -> int | None:
    return None if value is None else _count(value)
