"""A drain in the background: whatever happens to its work, its row in Postgres says how it ended."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.api import BrokerError, Phase, Progress, WorkerReading
from docservice.http.drains import Drainer
from docservice.http.errors import ApiError
from docservice.postgres.database import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Rows:
    """Keeps what is saved, newest last; ``fault`` is raised in place of saving."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.saved: list[tuple[str, Any]] = []
        self._fault = fault
        self.refused = asyncio.Event()

    async def save_drain(self, _drain_id: uuid.UUID, *, report: Any, state: str = "running") -> None:
        if self._fault is not None and state == "running":
            self.refused.set()
            raise self._fault
        self.saved.append((state, {name: dict(one) for name, one in report.items()}))


class _Control:
    """Workers as given; a drain that ends with ``ends``, or once it is stopped where ``waits``."""

    def __init__(
        self,
        ends: Sequence[Progress] | Exception = (),
        *,
        waits: bool = False,
        workers: dict[str, WorkerReading | None] | None = None,
    ) -> None:
        self._ends = ends
        self._waits = waits
        self._workers = workers or {}
        self.begun = asyncio.Event()

    async def workers(self) -> dict[str, WorkerReading | None]:
        return self._workers

    async def drain(self, _names: object, *, stop: Any, on_progress: Any, **_rest: object) -> Any:
        self.begun.set()
        if self._waits:
            await asyncio.to_thread(stop.wait)
        if isinstance(self._ends, Exception):
            raise self._ends
        for one in self._ends:
            on_progress(one)
        return list(self._ends)


def drainer(control: _Control, rows: _Rows) -> Drainer:
    given: Any = control
    store: Any = rows
    return Drainer(given, store, uuid.uuid4(), ["a@b"])


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (BrokerError("broker: gone"), "broker: gone"),
        (ValueError("secret"), "internal error; the log has its details"),
    ],
)
def test_a_drain_that_raises_is_saved_as_failed_with_the_reason(fault: Exception, detail: str) -> None:
    rows = _Rows()
    asyncio.run(drainer(_Control(fault), rows).run(seconds=5, force=False))
    assert rows.saved[-1] == ("failed", {"a@b": {"state": "emptying", "left": None, "detail": detail}})


def test_a_save_that_fails_does_not_end_the_drain() -> None:
    rows = _Rows(TypeError("not JSON"))

    async def run() -> None:
        control = _Control([Progress(worker="a@b", queues=(), phase=Phase.DRAINED)], waits=True)
        ending = drainer(control, rows)
        work = asyncio.create_task(ending.run(seconds=5, force=False))
        await control.begun.wait()
        await rows.refused.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert [state for state, _ in rows.saved] == ["done"]


class _LateRows(_Rows):
    """Away for the first two saves."""

    away = 2

    async def save_drain(self, _drain_id: uuid.UUID, *, report: Any, state: str = "running") -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("Postgres does not answer")
        await super().save_drain(_drain_id, report=report, state=state)


def test_the_end_of_a_drain_is_saved_when_postgres_is_back() -> None:
    rows = _LateRows()
    control = _Control([Progress(worker="a@b", queues=(), phase=Phase.DRAINED)])
    asyncio.run(drainer(control, rows).run(seconds=5, force=False))
    assert rows.saved == [("done", {"a@b": {"state": Phase.DRAINED, "left": None}})]


@pytest.mark.parametrize(("phase", "state"), [(Phase.DRAINED, "done"), (Phase.RESTORED, "failed")])
def test_a_drain_that_a_shutdown_interrupts_is_saved_as_it_ended(phase: Phase, state: str) -> None:
    rows = _Rows()

    async def run() -> None:
        control = _Control([Progress(worker="a@b", queues=(), phase=phase)], waits=True)
        work = asyncio.create_task(drainer(control, rows).run(seconds=5, force=False))
        await control.begun.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert rows.saved[-1] == (state, {"a@b": {"state": phase, "left": None}})


def test_a_worker_without_queues_can_be_drained_and_an_unknown_one_cannot() -> None:
    reading = WorkerReading(name="a@b", processes=1)
    asyncio.run(drainer(_Control(workers={"a@b": reading}), _Rows()).check(force=False))
    with pytest.raises(ApiError) as unknown:
        asyncio.run(drainer(_Control(workers={}), _Rows()).check(force=False))
    with pytest.raises(ApiError) as unresponsive:
        asyncio.run(drainer(_Control(workers={"a@b": None}), _Rows()).check(force=False))
    assert (unknown.value.status_code, unresponsive.value.status_code) == (404, 504)
