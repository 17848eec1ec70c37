"""Makes one worker the size it should be, and tells what is known of the outcome.

With the companion a resize is absolute, so that a late or repeated command does no harm. Stock commands are
relative: they are sent once, with a whole number of 1 or more from a size that was just read, and never
repeated on silence. A reply is a hint; the next reading is the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from autoscaler.core.model import Outcome, Result
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.core.model import WorkerReading


class RemoteCall(Protocol):
    """One remote-control command to named workers, with bounded time."""

    def call(
        self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The replies by worker; one that is missing did not answer."""


def command_for(reading: WorkerReading, target: int) -> tuple[str, dict[str, int]]:
    """The command and its arguments that bring a worker from the size just read to ``target``.

    Raises:
        ValueError: where the sizes are no whole numbers of 1 or more, are the same, or the worker cannot be
            resized.
    """
    before = reading.processes
    if type(target) is not int or not 1 <= target <= MAX_PROCESSES:
        raise ValueError(f"target is {target!r}; it must be a whole number from 1 to {MAX_PROCESSES}")
    if type(before) is not int or before == target or reading.unsupported is not None:
        raise ValueError(f"worker {reading.name!r} of size {before!r} cannot be resized to {target}")
    if reading.companion:
        return "pool_resize", {"size": target}
    return (
        ("pool_grow", {"n": target - before}) if target > before else ("pool_shrink", {"n": before - target})
    )


class WorkerResizer:
    """Resizes workers through ``remote``."""

    def __init__(self, remote: RemoteCall) -> None:
        self._remote = remote

    def resize(self, reading: WorkerReading, target: int) -> Outcome:
        """Send one command to one worker. It never raises for what the broker or the worker does."""
        command, arguments = command_for(reading, target)
        result: Result
        detail: str | None
        try:
            replies = self._remote.call(command, arguments, [reading.name]).get(reading.name, [])
        except (OSError, RedisError, KombuError, ValueError) as fault:
            # A ValueError: the URL was read again from its file and cannot be used any more.
            result, detail = Result.UNKNOWN, f"{type(fault).__name__}: {fault}"
        else:
            result, detail = judge(replies)
        assert reading.processes is not None  # noqa: S101 - command_for has refused it
        return Outcome(
            worker=reading.name,
            before=reading.processes,
            target=target,
            command=command,
            result=result,
            detail=detail,
        )


def judge(replies: Sequence[Any]) -> tuple[Result, str | None]:
    """What the replies of one worker say."""
    if not replies:
        return Result.UNKNOWN, "no reply in time; its size is read again before anything else is sent"
    if len(replies) > 1:
        return Result.UNKNOWN, "two workers answered to this name; give each worker a name of its own"
    reply = replies[0]
    if isinstance(reply, dict) and "error" in reply:
        return Result.REFUSED, str(reply["error"])
    if isinstance(reply, dict) and "ok" in reply:
        return Result.DONE, None
    return Result.UNKNOWN, "the reply is neither ok nor error; its size is read again"
