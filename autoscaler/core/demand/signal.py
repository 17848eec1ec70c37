"""What a group of workers shows at one moment, for the target wait to learn from. A value, no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What one fleet shows at ``at`` monotonic seconds.

    ``waiting`` counts messages that no worker has fetched, ``reserved`` those fetched and not running,
    ``busy`` tasks that run (in retiring processes too). ``processes`` is the size, retiring ones left out.
    ``completed`` counts tasks that ended, and only its growth means anything; ``oldest_age_seconds`` is the
    age of the oldest of ``waiting``; ``start_seconds`` the learnt time from a resize to a ready process.
    Unknown is None. ``passing`` of those that wait will need no process when they are fetched.
    ``continuous`` is False where other workers ran than at the signal before: the time in between says
    nothing about how long a task takes. It is not ``complete`` where a part of it could not be read: then the
    counts are lower bounds, nothing is learnt from them, and nothing is taken away for them.
    """

    at: float
    waiting: int
    busy: int
    reserved: int
    processes: int
    completed: int | None = None
    oldest_age_seconds: float | None = None
    start_seconds: float | None = None
    continuous: bool = True
    passing: int = 0
    complete: bool = True

    def __post_init__(self) -> None:
        for name in ("waiting", "busy", "reserved", "processes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is 0 or more")
        if not 0 <= self.passing <= self.waiting:
            raise ValueError(f"passing is {self.passing}; it is from 0 to waiting, which is {self.waiting}")

    @property
    def backlog(self) -> int:
        """Tasks that have not started."""
        return self.waiting + self.reserved

    @property
    def in_system(self) -> int:
        """Tasks that have not ended and that a process will run."""
        return self.unended - self.passing

    @property
    def unended(self) -> int:
        """Tasks that have not ended."""
        return self.waiting + self.reserved + self.busy

    @property
    def share_run(self) -> float:
        """Share of the backlog that a process will run."""
        return 1 - self.passing / self.backlog if self.passing else 1.0
