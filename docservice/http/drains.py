"""Drains in the background: what ``autoscaler drain`` does, and how far it is, stored for all to ask."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from autoscaler.api import DrainError, Phase, refuse
from docservice.http.errors import ApiError
from docservice.log import logger
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError
from docservice.workers import ControlError, WorkerControl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.api import Progress
    from docservice.postgres.administration import Administration

_TELL_SECONDS = 0.5
#: How long giving the consumers back may take when this process ends.
_GIVE_BACK_SECONDS = 15.0


class Drainer:
    """Runs one drain; how far it is stands in Postgres, for every process of the API to tell."""

    def __init__(self, control: WorkerControl, administration: Administration) -> None:
        self._control = control
        self._administration = administration
        self._log = logger("drain")
        self._report: dict[str, dict[str, Any]] = {}

    async def check(self, names: Sequence[str], *, force: bool) -> None:
        """Whether all of them answer and can be drained.

        Raises:
            ApiError: 404 for an unknown one, 504 for a silent one, 409 for one whose queues are not known,
                and where a queue would be left without a worker.
        """
        workers = await self._control.workers()
        unknown = [name for name in names if name not in workers]
        if unknown:
            raise ApiError(404, f"no worker is called {', '.join(unknown)}")
        answering = [reading for reading in workers.values() if reading is not None]
        found = {reading.name: reading for reading in answering}
        silent = [name for name in names if name not in found]
        if silent:
            raise ApiError(504, f"no answer from {', '.join(silent)}; nothing was sent")
        deaf = [name for name in names if not found[name].queues]
        if deaf:
            raise ApiError(409, f"{', '.join(deaf)}: it consumes no queue, so it cannot be drained")
        try:
            refuse(names, answering, force=force)
        except DrainError as fault:
            raise ApiError(409, str(fault)) from fault

    async def begin(self, names: Sequence[str], *, seconds: float) -> str:
        """Store a drain that begins and return its id; raises DrainRunsError when another runs."""
        self._report = {name: {"state": Phase.EMPTYING, "left": None} for name in names}
        return await self._administration.begin_drain(
            workers=list(names), seconds=seconds, report=self._report
        )

    async def run(self, drain_id: str, names: Sequence[str], *, seconds: float, force: bool) -> None:
        """Drain and shut down, and tell how far it is, to the end."""
        stop = threading.Event()
        drain = self._control.drain(names, deadline_seconds=seconds, force=force, tell=self._note, stop=stop)
        work = asyncio.create_task(drain)
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_TELL_SECONDS)
                if not work.done():
                    await self._tell(drain_id)
            state = self._end(work)
        except asyncio.CancelledError:  # this process ends: leave no worker deaf
            stop.set()
            await asyncio.wait({work}, timeout=_GIVE_BACK_SECONDS)
            await self._tell(drain_id, state="failed")
            raise
        await self._tell(drain_id, state=state)
        self._log.info("drain.ended", drain=drain_id, state=state)

    def _end(self, work: asyncio.Task[list[Progress]]) -> str:
        try:
            ended = work.result()
        except (ControlError, DrainError) as fault:
            for one in self._report.values():
                one["detail"] = str(fault)
            return "failed"
        return "done" if all(one.phase is Phase.DRAINED for one in ended) else "failed"

    def _note(self, progress: Progress) -> None:
        counted = progress.busy is not None and progress.reserved is not None
        self._report[progress.worker] = {
            "state": progress.phase,
            "left": {"busy": progress.busy, "reserved": progress.reserved} if counted else None,
        }

    async def _tell(self, drain_id: str, *, state: str = "running") -> None:
        # The drain goes on whether or not it can be told of.
        try:
            await self._administration.tell_drain(drain_id, report=self._report, state=state)
        except (StoreUnavailableError, StoreTimeoutError) as fault:
            self._log.warning("drain.untold", drain=drain_id, fault=type(fault).__name__)
