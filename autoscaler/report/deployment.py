"""What a deployment lacks: workers and queues that are expected and not there, as conditions.

Pure functions of what one tick has read. Nothing about a single worker's pool belongs here. A state holds no
counts, so that it changes only when a person should read it again.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from autoscaler.core.rivals import NONE, rivals, yields_to

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from autoscaler.core.model import QueueReading, WorkerReading
    from autoscaler.core.rivals import Rival

NO_WORKER = "no_worker"
MISSING_WORKER = "missing_worker"
NOT_CONSUMED = "not_consumed"
#: Workers answer and take none of the tasks that wait.
NOT_CONSUMING = "not_consuming"
#: The publishing times of a queue's messages cannot be true.
CLOCK = "clock"
#: Two autoscalers resize one worker.
RIVAL = "rival"
#: Somebody resizes a worker and does not give a name.
FOREIGN_RESIZE = "foreign_resize"
#: Lists of a queue's priorities hold messages and are read by no worker.
PRIORITIES = "priorities"
#: The broker delivers a task again that is still running.
REDELIVERY = "redelivery"
#: A worker's tasks wait for room in memory.
MEMORY_WAIT = "memory_wait"
#: A worker of another autoscaler does not take its share of a growth.
PEER_WITHOUT_GROWTH = "peer_without_growth"
#: The companion of a worker speaks a later version than this daemon.
CONTRACT = "contract"
#: Kinds that say something of one queue or one worker that was read.
OF_READINGS = (PRIORITIES, REDELIVERY, MEMORY_WAIT, CONTRACT)
#: What is shorter is a burst that fills the memory, and over as soon as its first tasks end.
_MEMORY_WAIT_SECONDS = 10.0
#: The version of the companion's commands that this daemon knows.
KNOWN_CONTRACT = 1
#: A worker has a mailbox and does not answer.
UNRESPONSIVE = "unresponsive"
KINDS = (NO_WORKER, MISSING_WORKER, NOT_CONSUMED)

#: The name of the one subject of ``no_worker``.
ALL = "all"

NO_WORKER_STATE = (
    "no worker answers: is one up on this Redis and database, with worker_enable_remote_control=True, and do"
    " its global_keyprefix, control_exchange and fanout_prefix match? autoscaler check says more"
)
MISSING_WORKER_STATE = "no worker of this name answers; correct --worker, or start it with -n NAME"
CLOCK_STATE = (
    "its messages are stamped minutes off, so their age is not used: synchronise the publishers' clocks"
)
NOT_CONSUMING_STATE = (
    "tasks wait, no task ends and the workers take none: their consumers are cancelled or their connection"
    " hangs; restart them, or see autoscaler check-worker"
)
NO_CONSUMER_STATE = (
    "it answers and consumes no queue: its consumers were cancelled, or lost at a reconnect; restart it, or"
    " run celery control add_consumer QUEUE -d NAME"
)
UNRESPONSIVE_STATE = (
    "it does not answer: it hangs, was stopped or killed, or its machine is gone; what it runs is unknown"
)
MEMORY_WAIT_STATE = (
    "tasks wait in it until there is room for one more below its container's memory limit: raise the limit,"
    " or lower --max; autoscaler_memory_gate = False lets them start"
)
PEER_STATE = (
    "it shares queues with workers of this autoscaler and does not grow when they do, so they take its share:"
    " run an autoscaler for it, or give its own the same maximum and the same delays"
)
WAITING_STATE = "messages wait and no worker that answers consumes it; start a worker with -Q NAME"
FOREIGN_STATE = (
    "somebody else resizes it; give the autoscalers of one fleet the same --name, or stop the other"
)
RIVAL_ADVICE = "give the autoscalers of one fleet the same --name, or each its own --worker or --queue"
EMPTY_STATE = "no worker that answers consumes it and it is empty; correct --queue or --target-wait"


def missing(
    workers: Mapping[str, WorkerReading],
    queues: Sequence[QueueReading],
    *,
    expected_workers: Collection[str] = (),
    expected_queues: Collection[str] = (),
    resizing: Collection[str] = (),
) -> dict[tuple[str, str], str]:
    """The conditions by (kind, name).

    ``workers`` are those that answer or answered lately, by name; ``expected_workers`` and
    ``expected_queues`` are what the settings name. ``resizing`` are workers with an action under way: their
    consumers may be cancelled for a moment.
    """
    found: dict[tuple[str, str], str] = {}
    if not workers:
        found[NO_WORKER, ALL] = NO_WORKER_STATE
    for name in sorted(set(expected_workers) - workers.keys()):
        found[MISSING_WORKER, name] = MISSING_WORKER_STATE
    if not any(workers[name].queues == () for name in resizing if name in workers):
        found |= {
            (NOT_CONSUMED, name): state for name, state in _not_consumed(workers, queues, expected_queues)
        }
    return found


def of_readings(
    workers: Iterable[WorkerReading], queues: Iterable[QueueReading]
) -> dict[tuple[str, str], str]:
    """What single workers and queues are about to suffer from, by (kind, name), with what to do."""
    found = {}
    for queue in queues:
        if not queue.stamps_trusted:
            found[CLOCK, queue.name] = CLOCK_STATE
        if queue.stray_lists:
            found[PRIORITIES, queue.name] = stray_text(queue)
    for reading in workers:
        if (text := redelivery_text(reading)) is not None:
            found[REDELIVERY, reading.name] = text
        if (reading.memory_wait_seconds or 0.0) >= _MEMORY_WAIT_SECONDS:
            found[MEMORY_WAIT, reading.name] = MEMORY_WAIT_STATE
        if (text := contract_text(reading)) is not None:
            found[CONTRACT, reading.name] = text
    return found


def stray_text(queue: QueueReading) -> str:
    """Which lists are read by nobody, and what to do."""
    lists = ", ".join(map(repr, queue.stray_lists))
    return (
        f"messages wait in {lists}, outside the priority_steps by which it is read: give publishers, workers"
        " and --priority-steps the same"
    )


def redelivery_text(reading: WorkerReading) -> str | None:
    """That a task outlasts the visibility timeout, None where none does."""
    timeout = reading.layout.visibility_timeout_seconds if reading.layout else None
    seconds = reading.late_running_seconds
    if not timeout or seconds is None or seconds <= timeout:
        return None
    return (
        f"a task with late acknowledgement has been running for longer than the visibility timeout of"
        f" {timeout:g} s, so the broker delivers it again: set visibility_timeout in"
        " broker_transport_options above the longest task, for all workers"
    )


def contract_text(reading: WorkerReading) -> str | None:
    """That a companion is newer than this daemon, None where it is not."""
    contract = reading.layout.contract if reading.layout else None
    if contract is None or contract <= KNOWN_CONTRACT:
        return None
    return f"its companion speaks version {contract} and this daemon {KNOWN_CONTRACT}: upgrade the daemon"


def contested(
    workers: Iterable[WorkerReading],
    own_name: str,
    known: Mapping[str, Mapping[str, Rival]] = MappingProxyType({}),
) -> dict[tuple[str, str], str]:
    """The workers that other autoscalers resize too, by (kind, name), with who they are.

    ``known`` is what is remembered of them, by worker.
    """
    found = {}
    for reading in workers:
        remembered = known.get(reading.name, NONE)
        others = rivals(reading, own_name, remembered)
        if not others:
            continue
        first = yields_to(reading, own_name, remembered)
        who = f"autoscaler {', '.join(others)} resizes it too"
        does = "they hold while this one acts" if first is None else f"this one holds while {first} acts"
        found[RIVAL, reading.name] = f"{who}; {does}; {RIVAL_ADVICE}"
    return found


def _not_consumed(
    workers: Mapping[str, WorkerReading], queues: Sequence[QueueReading], expected: Collection[str]
) -> Iterator[tuple[str, str]]:
    consumed = {queue for reading in workers.values() for queue in reading.queues}
    consumption_is_known = all(reading.queues_known for reading in workers.values())
    for queue in queues:
        if queue.name in consumed or not consumption_is_known:
            continue
        if queue.waiting:
            yield queue.name, WAITING_STATE
        elif queue.waiting == 0 and queue.name in expected and workers:
            yield queue.name, EMPTY_STATE
