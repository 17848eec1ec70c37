"""What the workers report of their pools, over Celery's remote control.

Workers are found by their mailboxes, by name, and by a roll call: a broadcast ``ping`` that also reaches a
worker whose mailbox is gone from kombu's set, which is written only at connect. A worker that has missed a
call is not asked again until it answers a roll call. Roll calls run aside of the tick (``run_aside``), so
that mailboxes of killed workers never delay those that answer. Nothing here decides what a silence means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import NoPermissionError

from autoscaler.broker.errors import BrokerError
from autoscaler.sensors.aside import run_inline
from autoscaler.sensors.round import Round

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from autoscaler.control.remote import RemoteCall, Replies
    from autoscaler.core.model import WorkerReading

#: How often everyone is called when all is well: a namesake, or a worker without a mailbox, is found by it.
_ROLL_CALL_EVERY_SECONDS = 60.0
#: How soon after a roll call the next one may follow while a worker does not respond or a name has several.
_MIN_PATIENCE_SECONDS = 5.0
#: A worker that is unresponsive for so long is no longer reported; a roll call can still bring it back.
_FORGET_SECONDS = 600.0
#: A mailbox that nobody has answered for so long is removed, where that is allowed.
_REMOVE_SECONDS = 3600.0
_MAX_REMOVALS = 100
#: Stock workers report whole seconds, and a reply may take a moment.
_UPTIME_TOLERANCE_SECONDS = 3.0
#: Celery's beat has such a name and answers ``ping`` only (``beat_enable_remote_control``, Celery 5.7).
_BEAT = "celerybeat@"


class RemoteControl(Protocol):
    """Remote control with bounded time, to named workers and to all."""

    def call(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> Replies:
        """The replies by worker; one that is missing did not answer."""

    def roll_call(self, expected: Collection[str]) -> Replies:
        """Everyone's replies to ``ping``; ``expected`` are the names that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersReading:
    """The workers that answered, and what is known of the others, by name.

    ``unresponsive`` did not answer lately; ``left`` are those of them that have removed their mailbox, since
    they have ended or reconnect. ``duplicates`` are names that more than one worker answers to.
    ``unregistered`` answer and have no mailbox in kombu's set. ``unreadable`` answer in a format that is not
    read, which it names; they are among ``unresponsive`` too. ``beats`` are Celery's beat, no workers.
    """

    workers: tuple[WorkerReading, ...] = ()
    unresponsive: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    beats: tuple[str, ...] = ()


@dataclass(slots=True)
class _Known:
    """What the sensor keeps of one name between ticks. Times are those of the readings."""

    known_since: float
    companion: bool | None = None
    uptime_seconds: float | None = None
    uptime_at: float | None = None
    misses: int = 0
    unresponsive_since: float | None = None
    ask_again_at: float = 0.0
    pinged: bool = False
    duplicate: bool = False
    beat: bool = False
    unreadable: str | None = None


@dataclass(slots=True)
class _RollCall:
    """One roll call: when it began, whether it has ended, and who answered, or its fault."""

    at: float
    has_ended: bool = False
    replies: Replies | None = None
    fault: BrokerError | None = None


class WorkerSensor:
    """Reads all workers, or those that are named, by targeted calls.

    ``remove_mailboxes`` removes the mailboxes of workers that are gone for good from kombu's set; without it
    they stay, and where the right to do so is missing it is not called again. ``where`` returns where
    commands go: mailboxes that were read before that changes are not those of the workers that answer after
    it.
    """

    def __init__(
        self,
        remote: RemoteControl,
        named: Collection[str] = (),
        *,
        run_aside: Callable[[Callable[[], None]], None] = run_inline,
        remove_mailboxes: Callable[[Collection[str]], None] | None = None,
        where: Callable[[], object] = lambda: None,
    ) -> None:
        self._remote = remote
        self._where = where
        self._named = frozenset(named)
        self._run_aside = run_aside
        self._remove_mailboxes = remove_mailboxes
        self._known: dict[str, _Known] = {}
        self._mailboxes: frozenset[str] = frozenset()
        self._roll_call: _RollCall | None = None
        self._fault: BrokerError | None = None
        self._called_at: float | None = None
        self._call_soon = False
        self._wait_seconds = self._patience_seconds = _MIN_PATIENCE_SECONDS

    def read(self, mailboxes: Collection[str], at: float) -> WorkersReading:
        """Ask every worker that is named, has a mailbox or has answered, unless it is unresponsive.

        Raises:
            BrokerError: when the broker cannot be reached.
        """
        before, self._mailboxes, where = self._mailboxes, frozenset(mailboxes), self._where()
        new = self._mailboxes - before
        for name in self._named | self._mailboxes:
            one = self._known.get(name)
            if one is None or (one.misses and name in new):
                # A name that is known already and unresponsive: a new worker of it has connected.
                self._known[name] = _Known(known_since=at)
        if self._called_at is None:
            self._begin_roll_call(at, run_inline)
        self._take_roll_call(at)
        round_ = Round(self._remote, {name for name, one in self._known.items() if one.duplicate})
        asked = sorted(name for name, one in self._known.items() if self._is_due(one, at))
        found = self._ask(round_, asked)
        self._record(found, round_, asked, at)
        if self._roll_call is None and self._roll_call_is_due(at):
            self._begin_roll_call(at, self._run_aside)
        if not asked and self._fault is not None:
            self._call_soon = True
            raise self._fault  # else the calls have met the same
        reading = self._reading(found, at)
        return reading if self._where() == where else replace(reading, unregistered=())

    def _ask(self, round_: Round, names: Sequence[str]) -> list[WorkerReading]:
        found, without = round_.reports([name for name in names if self._known[name].companion is not False])
        for reading in found:
            self._known[reading.name].companion = True
        for name in without:
            self._known[name].companion = False
        # After the reports: a worker that does not know the command is asked by stock commands at once.
        found += round_.stock([name for name in names if self._known[name].companion is False])
        return sorted(found, key=lambda reading: reading.name)

    def _is_due(self, one: _Known, at: float) -> bool:
        return not one.beat and not one.duplicate and (one.misses == 0 or at >= one.ask_again_at)

    def _record(self, found: Sequence[WorkerReading], round_: Round, asked: Sequence[str], at: float) -> None:
        for reading in found:
            self._watch_uptime(reading, at)
        answered = {reading.name for reading in found}
        for name in asked:
            one = self._known[name]
            one.duplicate = name in round_.duplicates
            one.unreadable = round_.unreadable.get(name)
            if name in answered or one.duplicate:
                one.misses, one.unresponsive_since = 0, None
            elif name.startswith(_BEAT) and one.pinged and one.unreadable is None:
                one.beat = True
            else:
                self._miss(one, at)
        # A second worker of a name is mostly the successor of one that ends: a rolling restart.
        if any(self._known[name].misses == 1 or self._known[name].duplicate for name in asked):
            self._call_soon, self._patience_seconds = True, _MIN_PATIENCE_SECONDS

    def _miss(self, one: _Known, at: float) -> None:
        one.misses += 1
        one.unresponsive_since = at if one.unresponsive_since is None else one.unresponsive_since
        one.companion = one.companion or None
        one.pinged = False
        one.ask_again_at = math.inf  # until it answers a roll call

    def _watch_uptime(self, reading: WorkerReading, at: float) -> None:
        """A clock that does not go on from the last reading is a restarted worker's, or a namesake's."""
        one = self._known[reading.name]
        before, before_at = one.uptime_seconds, one.uptime_at
        one.uptime_seconds, one.uptime_at = reading.uptime_seconds, at
        if before is None or before_at is None or reading.uptime_seconds is None:
            return
        if abs(reading.uptime_seconds - before - (at - before_at)) > _UPTIME_TOLERANCE_SECONDS:
            self._call_soon = True
            one.companion = one.companion or None  # it may have come back with the companion: ask again

    # The roll call

    def _roll_call_is_due(self, at: float) -> bool:
        if self._call_soon or self._called_at is None:
            return True
        unresponsive = {
            name for name, one in self._known.items() if one.misses and not self._is_forgotten(one, at)
        }
        if unresponsive & self._named:
            wait = _MIN_PATIENCE_SECONDS
        else:
            unsettled = unresponsive or any(one.duplicate for one in self._known.values())
            wait = self._wait_seconds if unsettled else _ROLL_CALL_EVERY_SECONDS
        return at >= self._called_at + wait

    def _begin_roll_call(self, at: float, run: Callable[[Callable[[], None]], None]) -> None:
        roll_call = _RollCall(at=at)
        self._called_at, self._call_soon = at, False
        self._wait_seconds = self._patience_seconds
        self._patience_seconds = min(_ROLL_CALL_EVERY_SECONDS, self._patience_seconds * 2)
        expected = sorted(self._known)
        gone = self._expired(at)

        def work() -> None:
            try:
                roll_call.replies = self._remote.roll_call(expected)
                self._remove(gone)
            except BrokerError as fault:
                roll_call.fault = fault
            finally:
                roll_call.has_ended = True

        run(work)
        # Only now: one that could not be begun is not waited for.
        self._roll_call = roll_call

    def _take_roll_call(self, at: float) -> None:
        roll_call = self._roll_call
        if roll_call is None or not roll_call.has_ended:
            return
        self._roll_call, self._fault = None, roll_call.fault
        if roll_call.replies is None:
            return
        for name, replies in roll_call.replies.items():
            self._apply_replies(self._known.setdefault(name, _Known(known_since=at)), replies, at)
        for name in self._known.keys() - roll_call.replies.keys():
            self._miss_in_roll_call(name, roll_call.at, at)

    def _apply_replies(self, one: _Known, replies: Sequence[object], at: float) -> None:
        if len(replies) > 1 and not one.duplicate:
            self._wait_seconds = self._patience_seconds = _MIN_PATIENCE_SECONDS
        one.duplicate = len(replies) > 1
        one.pinged = True
        if one.misses and one.ask_again_at == math.inf:
            # It answers a ping and has missed a call: it is asked again, each time later.
            wait = 0.0 if one.misses == 1 else _MIN_PATIENCE_SECONDS * 2 ** min(one.misses - 2, 6)
            one.ask_again_at = at + min(wait, _ROLL_CALL_EVERY_SECONDS)

    def _miss_in_roll_call(self, name: str, called_at: float, at: float) -> None:
        one = self._known[name]
        one.duplicate = False
        if one.known_since > called_at:
            return
        if one.misses == 0 and one.uptime_at is None and not one.beat:
            self._miss(one, at)  # never seen: no call of a tick waits for it
        absent = name not in self._mailboxes and name not in self._named
        if absent and (
            one.beat or (one.unresponsive_since is not None and one.unresponsive_since <= called_at)
        ):
            del self._known[name]

    def _expired(self, at: float) -> list[str]:
        if self._remove_mailboxes is None:
            return []
        return sorted(
            name
            for name in self._mailboxes
            if (one := self._known.get(name)) is not None
            and one.unresponsive_since is not None
            and at - one.unresponsive_since > _REMOVE_SECONDS
        )[:_MAX_REMOVALS]

    def _remove(self, names: Sequence[str]) -> None:
        if not names or self._remove_mailboxes is None:
            return
        try:
            self._remove_mailboxes(names)
        except BrokerError as fault:
            if isinstance(fault.__cause__, NoPermissionError):
                self._remove_mailboxes = None

    def _is_forgotten(self, one: _Known, at: float) -> bool:
        return one.unresponsive_since is not None and at - one.unresponsive_since > _FORGET_SECONDS

    def _reading(self, found: Sequence[WorkerReading], at: float) -> WorkersReading:
        answering = [reading.name for reading in found]
        unresponsive = {
            name: one
            for name, one in self._known.items()
            if one.misses and not one.beat and (name in self._named or not self._is_forgotten(one, at))
        }
        return WorkersReading(
            workers=tuple(found),
            unresponsive=tuple(sorted(unresponsive)),
            left=tuple(sorted(unresponsive.keys() - self._mailboxes)),
            duplicates=tuple(sorted(name for name, one in self._known.items() if one.duplicate)),
            unregistered=tuple(name for name in answering if name not in self._mailboxes),
            unreadable={name: one.unreadable for name, one in sorted(unresponsive.items()) if one.unreadable},
            beats=tuple(sorted(name for name, one in self._known.items() if one.beat)),
        )


def ask(remote: RemoteCall, names: Sequence[str]) -> list[WorkerReading]:
    """What those of the named workers report that answer now; a duplicate name is left out.

    Raises:
        BrokerError: when the broker cannot be reached.
    """
    round_ = Round(remote, set())
    found, without = round_.reports(names)
    found += round_.stock(without)
    return sorted(
        (one for one in found if one.name not in round_.duplicates), key=lambda reading: reading.name
    )
