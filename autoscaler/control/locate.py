"""Finds where workers listen when they do not answer where commands go.

Their exchange shows in the keys of their mailboxes. A prefix shows nowhere, so kombu's two usual ones are
tried by a ping to everyone, all at once; a prefix of one's own has to be given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from autoscaler.broker.errors import BrokerError
from autoscaler.control.remote import RemoteCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from autoscaler.control.addresses import Address, Addresses
    from autoscaler.control.remote import Remote, Replies

#: No more exchanges are tried at once.
_MAX_EXCHANGES = 20


class LocatingRemote:
    """Remote control that finds the workers' addresses at a roll call.

    Where somebody who is expected does not answer, the other prefixes are tried; where nobody answers, the
    other exchanges too. ``find_exchanges`` returns those that have mailboxes, and may raise BrokerError. What
    the user has no right to is tried once.
    ``located`` is called with the addresses when they change.
    """

    def __init__(
        self,
        remote: Remote,
        addresses: Addresses,
        find_exchanges: Callable[[], Collection[str]],
        *,
        located: Callable[[Sequence[Address]], None] = lambda _: None,
    ) -> None:
        self._remote = remote
        self._addresses = addresses
        self._find_exchanges = find_exchanges
        self._located = located
        self._may_search = True

    def call(self, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> Replies:
        """As :meth:`.remote.Remote.call`."""
        return self._remote.call(command, arguments, workers)

    def roll_call(self, expected: Collection[str] = ()) -> Replies:
        """Everyone's replies to a broadcast ``ping``, wherever they listen.

        Raises:
            BrokerError: when the broker cannot be reached or refuses.
        """
        replies = self._remote.roll_call(expected)
        if replies and not set(expected) - replies.keys():
            return replies
        kept = self._addresses.current if replies else ()
        found = {}
        for address, answers in self._try(self._candidates(search=not replies), expected).items():
            if answers.keys() - replies.keys():
                found[address] = answers
                replies = {**answers, **replies}
        if found:
            self._addresses.use((*kept, *found))
            self._located(self._addresses.current)
        return replies

    def _try(self, candidates: Sequence[Address], expected: Collection[str]) -> dict[Address, Replies]:
        commands = [
            RemoteCommand(name="ping", workers=None, expected=tuple(expected), address=address)
            for address in candidates
        ]
        return dict(zip(candidates, self._remote.call_all(commands), strict=True)) if commands else {}

    def _candidates(self, *, search: bool) -> Sequence[Address]:
        exchanges: Collection[str] = ()
        if search and self._may_search and self._addresses.searches_exchanges:
            try:
                exchanges = sorted(self._find_exchanges())[:_MAX_EXCHANGES]
            except BrokerError as fault:
                self._may_search = not isinstance(fault.__cause__, NoPermissionError)
        candidates = self._addresses.candidates(exchanges)
        return [address for address in candidates if address not in self._remote.refused]
