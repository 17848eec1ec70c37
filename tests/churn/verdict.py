"""What became of each task, by the ledger: counted exactly, not sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from tests.churn.scenarios import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Counts over all tasks of one run.

    ``lost`` never came to their end, or to their start where a time limit had to end them. ``twice`` were
    started more than once; ``redelivered`` too, but because the harness made the broker deliver them again.
    ``excused`` were running in a process that the harness killed.
    """

    published: int
    lost: int
    twice: int
    redelivered: int
    excused: int
    lost_numbers: tuple[int, ...] = field(default=(), repr=False)


def judge(sent: Mapping[int, Task], killed: frozenset[int], ledger: Redis, *, redelivers: bool) -> Verdict:
    """Read the ledger once nothing runs any more.

    ``redelivers`` is whether the harness gave the broker reason to deliver again. Where it did not, a second
    delivery is the fault of whoever resized.
    """
    starts = {int(number): int(count) for number, count in ledger.hgetall("starts").items()}
    ends = {int(number): int(count) for number, count in ledger.hgetall("ends").items()}
    again = {int(number) for number in ledger.smembers("redelivered")} if redelivers else set()
    lost = {number for number, task in sent.items() if not (ends if task.ends else starts).get(number)}
    repeated = {number for number, count in starts.items() if count > 1}
    return Verdict(
        published=len(sent),
        lost=len(lost - killed),
        twice=len(repeated - killed - again),
        redelivered=len((repeated & again) - killed),
        excused=len((lost | repeated) & killed),
        lost_numbers=tuple(sorted(lost - killed)),
    )
