"""Makes workers the size they should be, and reports what is known of the outcome.

The one implementation for the daemon and for administrators: a list of requests in, an outcome for each out.
With the companion a resize is absolute, so that a late or repeated command does no harm. Stock commands are
relative: they are sent once, with a whole number of 1 or more from a size that was just read, and never
repeated on silence; a stock shrink is sent only to a worker that is known to run and hold nothing, since
Celery's own way kills tasks (celery#7266). A reply is a hint; the next reading is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import BrokerError, one_line
from autoscaler.control.remote import RemoteCommand, UnreadableReply
from autoscaler.core.model import Outcome, Result
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.control.remote import RemoteCalls, Replies
    from autoscaler.core.model import WorkerReading


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeRequest:
    """Bring the worker of ``reading``, which was just read, to ``target`` processes."""

    reading: WorkerReading
    target: int


def refusal(reading: WorkerReading, target: int) -> str | None:
    """Why a worker must not be resized to ``target``, in one line, or None where it may."""
    before = reading.processes
    if type(target) is not int or not 1 <= target <= MAX_PROCESSES:
        return f"the target {target!r} is not a whole number from 1 to {MAX_PROCESSES}"
    if reading.unsupported is not None:
        return reading.unsupported
    if type(before) is not int:
        return "its size cannot be read, so nothing is sent"
    if target < before and not reading.companion and (reading.busy != 0 or reading.reserved != 0):
        return (
            "without the companion a shrink loses tasks, and this worker is not known to be idle;"
            " load autoscaler.companion in it, or wait until it is idle"
        )
    return None


def command_for(request: ResizeRequest, by: str | None = None) -> RemoteCommand | None:
    """The command that brings a worker from the size just read to the target; None where it has that size.

    ``by`` is the name of who asks, for a companion that takes one.
    """
    name, before, target = request.reading.name, request.reading.processes, request.target
    if before is None or before == target:
        return None
    if request.reading.companion:
        named = {} if by is None or request.reading.resizers is None else {"by": by}
        return RemoteCommand(name="pool_resize", arguments={"size": target, **named}, workers=(name,))
    if target > before:
        return RemoteCommand(name="pool_grow", arguments={"n": target - before}, workers=(name,))
    return RemoteCommand(name="pool_shrink", arguments={"n": before - target}, workers=(name,))


class WorkerResizer:
    """Resizes workers through ``remote``; ``by`` is the name of the autoscaler that does."""

    def __init__(self, remote: RemoteCalls, *, by: str | None = None) -> None:
        self._remote = remote
        self._by = by

    def resize(self, requests: Sequence[ResizeRequest]) -> list[Outcome]:
        """An outcome for each request, in their order. All commands go out together, one to each worker.

        It never raises for what the broker or a worker does. A request that :func:`refusal` refuses, and one
        for the size that the worker already has, sends nothing.
        """
        outcomes: dict[int, Outcome] = {}
        sent: dict[int, RemoteCommand] = {}
        for index, request in enumerate(requests):
            reason = refusal(request.reading, request.target)
            command = None if reason is not None else command_for(request, self._by)
            if command is not None:
                sent[index] = command
            else:
                result = Result.DONE if reason is None else Result.REFUSED
                outcomes[index] = _outcome(request, "none", result, reason)
        batches = _merged(sent.values())
        fault: str | None = None
        replies: dict[_Key, Replies] = {}
        try:
            replies = dict(zip(batches, self._remote.call_all(list(batches.values())), strict=True))
        except BrokerError as error:
            fault = str(error)
        for index, command in sent.items():
            request = requests[index]
            found = replies.get(_key(command), {}).get(request.reading.name, [])
            result, detail = (Result.UNKNOWN, fault) if fault is not None else judge(found)
            outcomes[index] = _outcome(request, command.name, result, detail)
        return [outcomes[index] for index in range(len(requests))]


_Key = tuple[str, tuple[tuple[str, Any], ...]]


def _key(command: RemoteCommand) -> _Key:
    return command.name, tuple(sorted(command.arguments.items()))


def _merged(commands: Iterable[RemoteCommand]) -> dict[_Key, RemoteCommand]:
    """One command for all workers that are sent the same."""
    workers: dict[_Key, dict[str, None]] = {}
    for command in commands:
        workers.setdefault(_key(command), {}).update(dict.fromkeys(command.workers or ()))
    return {
        key: RemoteCommand(name=key[0], arguments=dict(key[1]), workers=tuple(names))
        for key, names in workers.items()
    }


def _outcome(request: ResizeRequest, command: str, result: Result, detail: str | None) -> Outcome:
    return Outcome(
        worker=request.reading.name,
        before=request.reading.processes,
        target=request.target,
        command=command,
        result=result,
        detail=detail,
    )


def judge(replies: Sequence[Any]) -> tuple[Result, str | None]:
    """What the replies of one worker say: done on one plain ok, refused on one error, else unknown."""
    if not replies:
        return Result.UNKNOWN, "no reply in time"
    if len(replies) > 1:
        return Result.UNKNOWN, "two workers answered to this name; give each worker a name of its own"
    reply = replies[0]
    if isinstance(reply, UnreadableReply):
        return Result.UNKNOWN, str(reply)
    if isinstance(reply, dict) and "error" in reply:
        return Result.REFUSED, one_line(str(reply["error"]))
    if isinstance(reply, dict) and "ok" in reply:
        return Result.DONE, None
    return Result.UNKNOWN, "the reply is neither ok nor error"
