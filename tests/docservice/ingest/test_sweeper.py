"""Documents that no worker has are found and sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from docservice.dev.samples import sample_mail
from docservice.domain.documents import DocumentType
from docservice.ingest.sweeper import Swept
from docservice.postgres.database import StoreTimeoutError
from docservice.postgres.documents import Documents
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from docservice.config import Settings
    from docservice.page_cache import Cache


def test_the_sweeper_sends_what_was_forgotten_and_marks_failed_what_kills_workers(settings: Settings) -> None:
    async def walk() -> None:
        async with bench(settings) as made:
            fresh, forgotten, sent, killer, dropped = [
                await made.add(b"t", DocumentType.TEXT) for _ in range(5)
            ]
            change = "update documents set received_at = now() - interval '1 hour'"
            await made.database.fetch(f"{change} where id = $1", forgotten)
            await made.database.fetch(
                f"{change}, enqueued_at = now() - interval '10 seconds' where id = $1", sent
            )
            long_ago = "claimed_at = now() - interval '1 hour', state = 'processing'"
            await made.database.fetch(f"update documents set {long_ago}, attempts = 3 where id = $1", killer)
            await made.database.fetch(
                f"update documents set {long_ago}, attempts = 1, received_at = now() - interval '1 hour'"
                " where id = $1",
                dropped,
            )
            assert await made.sweeper().sweep() == Swept(sent=2, returned=1, failed=1)
            assert await made.sweeper().sweep() == Swept(sent=0, returned=0, failed=0)
            assert [(await made.state(one))[0] for one in (fresh, forgotten, sent, killer, dropped)] == [
                "received",
                "received",
                "received",
                "failed",
                "received",
            ]

    asyncio.run(walk())


class SlowCounting(Documents):
    """Documents so many that how long the oldest one waits is not found in time."""

    async def oldest_unprocessed_seconds(self) -> float:
        raise StoreTimeoutError


class Versions:
    """A cache that only notes whose pages became void."""

    def __init__(self) -> None:
        self.raised: list[str] = []

    async def raise_version(self, module: str) -> None:
        self.raised.append(module)

    async def close(self) -> None:
        """Nothing is open."""


def test_a_measurement_that_takes_too_long_leaves_nothing_else_undone(settings: Settings) -> None:
    async def walk() -> tuple[list[str], frozenset[int] | None]:
        async with bench(settings) as made:
            dropped, versions = await made.add(b"t", DocumentType.TEXT), Versions()
            await made.database.fetch(
                "update documents set state = 'processing', attempts = 1,"
                " claimed_at = now() - interval '1 hour', received_at = now() - interval '1 hour'"
            )
            cache = made.cache
            made.documents, made.cache = SlowCounting(made.database), cast("Cache", versions)
            with pytest.raises(StoreTimeoutError):
                await made.sweeper().sweep()
            assert dropped == 1
            await cache.close()
            return versions.raised, await made.broker.queued()

    assert asyncio.run(walk()) == (["mail"], frozenset({1}))


@pytest.mark.slow
def test_a_lost_message_is_sent_again_behind_any_backlog_and_only_once(settings: Settings) -> None:
    async def walk() -> list[Swept]:
        async with bench(settings) as made:
            # A minute ahead, so that it stays young on a machine that takes its time.
            keep_young = "update documents set enqueued_at = now() + interval '1 minute' where id = $1"
            queued, lost, other, young = [await made.add(b"t", DocumentType.TEXT) for _ in range(4)]
            await made.database.fetch("update documents set enqueued_at = now() - interval '21 seconds'")
            await made.database.fetch(keep_young, young)
            assert await made.broker.send([*range(10_000, 11_500), queued, *range(20_000, 21_500)])
            first = await made.sweeper().sweep(alone=True)
            found = await made.broker.queued()
            assert found is not None
            assert found & {queued, lost, other, young} == {queued, lost, other}
            # However long they wait in the queue, no message is added.
            await made.database.fetch("update documents set enqueued_at = now() - interval '1 hour'")
            await made.database.fetch(keep_young, young)
            return [first, await made.sweeper().sweep(alone=True)]

    assert asyncio.run(walk()) == [
        Swept(sent=2, returned=0, failed=0),
        Swept(sent=0, returned=0, failed=0),
    ]


def test_a_document_that_waits_for_its_retry_is_not_sent_again(settings: Settings) -> None:
    async def walk() -> list[list[int]]:
        async with bench(settings) as made:
            mail = await made.add(sample_mail(1))
            claim = await made.documents.claim(mail, lease_seconds=60)
            assert claim is not None
            assert await made.documents.release(claim, retry_in_seconds=300)
            soon = await made.documents.sent_before(seconds=20)
            return [soon, await made.documents.sent_before(seconds=-301)]

    assert asyncio.run(walk()) == [[], [1]]
