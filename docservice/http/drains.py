"""Drains in the background: what ``autoscaler drain`` does, with its progress stored in Postgres."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from autoscaler.api import BrokerError, DrainError, Phase, refuse
from docservice.http.errors import ApiError
from docservice.log import logger
from docservice.postgres.database import StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from autoscaler.api import Progress
    from docservice.postgres.administration import Administration
    from docservice.workers import WorkerControl

_SAVE_SECONDS = 0.5
#: What the API's body and the console's dialog both call it.
_FORCE = "drain it with force"
#: How long restoring the consumers may take when this process ends.
_RESTORE_SECONDS = 15.0


class Drainer:
    """Runs one drain; its progress is in Postgres, so that every process of the API can show it."""

    def __init__(
        self,
        control: WorkerControl,
        administration: Administration,
        drain_id: uuid.UUID,
        names: Sequence[str],
    ) -> None:
        self._control = control
        self._administration = administration
        self._id = drain_id
        self._names = list(names)
        self._log = logger("drain")
        self._report: dict[str, dict[str, Any]] = {
            name: {"state": Phase.EMPTYING, "left": None} for name in names
        }

    async def check(self, *, force: bool) -> None:
        """Check that all workers respond and can be drained.

        Raises:
            ApiError: 404 for an unknown one, 504 for one that does not respond, 409 where a queue would be
                left without a worker.
        """
        workers = await self._control.workers()
        unknown = [name for name in self._names if name not in workers]
        if unknown:
            raise ApiError(404, f"no worker is called {', '.join(unknown)}")
        answering = [reading for reading in workers.values() if reading is not None]
        found = {reading.name: reading for reading in answering}
        unresponsive = [name for name in self._names if name not in found]
        if unresponsive:
            raise ApiError(504, f"no answer from {', '.join(unresponsive)}; nothing was sent")
        try:
            refuse(self._names, answering, force=force)
        except DrainError as fault:
            raise ApiError(409, fault.with_advice(_FORCE)) from fault

    async def begin(self, *, seconds: float) -> None:
        """Store the drain; raises DrainRunsError when another runs."""
        await self._administration.begin_drain(
            drain_id=self._id, workers=self._names, seconds=seconds, report=self._report
        )

    async def run(self, *, seconds: float, force: bool) -> None:
        """Drain and shut down, and save the progress, to the end."""
        stop = threading.Event()
        drain = self._control.drain(
            self._names, deadline_seconds=seconds, force=force, on_progress=self._note, stop=stop
        )
        work = asyncio.create_task(drain)
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_SAVE_SECONDS)
                if not work.done():
                    await self._save()
            state = self._end(work)
            # Else it would be taken for lost.
            while not await self._save(state=state):  # noqa: ASYNC110 - it is Postgres that we wait for
                await asyncio.sleep(_SAVE_SECONDS)
        except asyncio.CancelledError:  # this process ends: leave no worker without its consumers
            stop.set()
            await asyncio.wait({work}, timeout=_RESTORE_SECONDS)
            await self._save(state=self._end(work))
            raise
        self._log.info("drain.ended", drain=str(self._id), state=state)

    def _end(self, work: asyncio.Task[list[Progress]]) -> str:
        """The state in which the drain ended; where it failed, the reason goes into the report."""
        if not work.done():
            return self._failed("the API stopped before it ended; a daemon restores cancelled consumers")
        try:
            ended = work.result()
        except DrainError as fault:
            return self._failed(fault.with_advice(_FORCE))
        except BrokerError as fault:
            return self._failed(str(fault))
        except Exception:  # noqa: BLE001 - logged; whatever it is, the row must not stay "running"
            self._log.exception("drain.failed", drain=str(self._id))
            return self._failed("internal error; the log has its details")
        return "done" if all(one.phase is Phase.DRAINED for one in ended) else "failed"

    def _failed(self, detail: str) -> str:
        for one in self._report.values():
            one["detail"] = detail
        return "failed"

    def _note(self, progress: Progress) -> None:
        counted = progress.busy is not None and progress.reserved is not None
        self._report[progress.worker] = {
            "state": progress.phase,
            "left": {"busy": progress.busy, "reserved": progress.reserved} if counted else None,
        }

    async def _save(self, *, state: str = "running") -> bool:
        """Save the progress; False when the same may be saved later."""
        try:
            await self._administration.save_drain(self._id, report=self._report, state=state)
        except Exception as fault:  # noqa: BLE001 - the drain goes on whether or not its progress is saved
            self._log.warning("drain.save_failed", drain=str(self._id), fault=type(fault).__name__)
            return not isinstance(fault, StoreUnavailableError | StoreTimeoutError)
        return True
