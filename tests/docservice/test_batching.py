"""What arrives while a question is under way goes together in the next, and nothing waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from docservice.batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the turns of the loop are what is waited for
            await asyncio.sleep(0)


def test_what_arrives_meanwhile_goes_together_and_is_answered_from_a_later_question() -> None:
    asked: list[list[int]] = []

    async def run() -> list[int]:
        gate = asyncio.Event()

        async def ask(items: list[int]) -> list[int]:
            asked.append(items)
            await gate.wait()
            return [item * 10 for item in items]

        batcher = Batcher(ask, max_items=3, max_in_flight=1)
        first = batcher(1)
        await until(lambda: asked == [[1]])
        others = [batcher(item) for item in (2, 3, 4, 5)]
        gate.set()
        return [await answer for answer in (first, *others)]

    assert asyncio.run(run()) == [10, 20, 30, 40, 50]
    assert asked == [[1], [2, 3, 4], [5]]


@pytest.mark.parametrize("at_once", [1, 2])
def test_one_who_comes_as_the_last_question_ends_is_answered_too(at_once: int) -> None:
    async def ask(items: list[int]) -> list[int]:  # an answer that is there at once leaves no turn between
        return items

    async def caller(batcher: Callable[[int], Awaitable[int]], number: int) -> int:
        return sum([await batcher(number) for _ in range(50)])

    async def run() -> list[int]:
        batcher = Batcher(ask, max_items=4, max_in_flight=at_once)
        async with asyncio.timeout(60):
            return await asyncio.gather(*(caller(batcher, number) for number in range(9)))

    assert asyncio.run(run()) == [50 * number for number in range(9)]


def test_those_who_come_in_one_turn_go_together() -> None:
    asked: list[list[int]] = []

    async def run() -> list[int]:
        async def ask(items: list[int]) -> list[int]:
            asked.append(items)
            return items

        batcher = Batcher(ask, max_items=8, max_in_flight=1)

        async def caller(number: int) -> int:
            return await batcher(number)

        return await asyncio.gather(*(caller(number) for number in range(5)))

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]
    assert asked == [[0, 1, 2, 3, 4]]


def test_a_second_question_begins_beside_the_first_when_it_is_full() -> None:
    asked: list[list[int]] = []

    async def run() -> list[int]:
        gate = asyncio.Event()

        async def ask(items: list[int]) -> list[int]:
            asked.append(items)
            await gate.wait()
            return items

        batcher = Batcher(ask, max_items=2, max_in_flight=2)
        answers = [batcher(1)]
        await until(lambda: asked == [[1]])
        answers.append(batcher(2))
        for _ in range(10):
            await asyncio.sleep(0)
        assert asked == [[1]]
        answers.append(batcher(3))
        await until(lambda: asked == [[1], [2, 3]])
        answers += [batcher(item) for item in (4, 5, 6)]  # there are two already
        gate.set()
        async with asyncio.timeout(60):
            return await asyncio.gather(*answers)

    assert asyncio.run(run()) == [1, 2, 3, 4, 5, 6]
    assert asked == [[1], [2, 3], [4, 5], [6]]


@pytest.mark.parametrize("most", [2, 8])
def test_nobody_waits_behind_a_question_that_hangs(most: int) -> None:
    looks: list[object] = []

    async def run() -> list[int]:
        asked: list[list[int]] = []

        async def ask(items: list[int]) -> list[int]:
            asked.append(items)
            if 1 in items:
                await asyncio.Event().wait()
            return items

        batcher = Batcher(ask, max_items=most, max_in_flight=2)
        hangs = batcher(1)
        await until(lambda: asked == [[1]])
        async with asyncio.timeout(60):
            answered = await asyncio.gather(*(batcher(item) for item in (2, 3, 4)))
            # Passed by once, it is in nobody's way any more: no later question waits for a timer.
            look = batcher._pass_slow
            batcher._pass_slow = lambda: (looks.append(1), look())  # type: ignore[assignment, method-assign, func-returns-value]
            for item in range(100):
                answered.append(await batcher(item * 2))
        hangs.cancel()
        return answered

    assert asyncio.run(run()) == [2, 3, 4, *(item * 2 for item in range(100))]
    assert len(looks) < 50


def test_a_question_that_is_cancelled_cancels_who_waits_for_it() -> None:
    async def ask(_items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    async def run() -> None:
        async with asyncio.timeout(60):
            await Batcher(ask, max_items=4, max_in_flight=1)(1)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_one_who_comes_after_a_question_was_cancelled_is_answered() -> None:
    async def ask(items: list[int]) -> list[int]:
        return items

    async def run() -> int:
        batcher = Batcher(ask, max_items=4, max_in_flight=1)
        before = asyncio.all_tasks()
        lost = batcher(1)
        for task in asyncio.all_tasks() - before:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lost.cancel()
        async with asyncio.timeout(60):
            return await batcher(2)

    assert asyncio.run(run()) == 2


def test_too_few_answers_are_a_fault_and_not_a_wait() -> None:
    async def ask(items: list[int]) -> list[int]:
        return items[1:]

    async def run() -> int:
        async with asyncio.timeout(60):
            return await Batcher(ask, max_items=4, max_in_flight=1)(1)

    with pytest.raises(ValueError, match="argument 2 is shorter"):
        asyncio.run(run())


def test_a_fault_reaches_all_who_asked_that_question_and_nobody_else() -> None:
    async def ask(items: list[int]) -> list[int]:
        if 2 in items:
            raise OSError(items)
        return items

    async def run() -> list[object]:
        batcher = Batcher(ask, max_items=2, max_in_flight=1)
        answers = [batcher(item) for item in (1, 2, 3, 4)]
        return [type(one) for one in await asyncio.gather(*answers, return_exceptions=True)]

    assert asyncio.run(run()) == [OSError, OSError, int, int]
