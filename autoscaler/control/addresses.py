"""Where commands to workers are published: Celery's ``control_exchange`` and kombu's ``fanout_prefix``.

What belongs here: the values, and which of them are in use. What may never enter: a connection. Workers
subscribe to patterns (PSUBSCRIBE), which Redis lists nowhere, so that a prefix cannot be read; it is given or
tried (:mod:`.locate`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoscaler.broker.mailboxes import DEFAULT_EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Collection

#: kombu's own ``fanout_prefix``.
DEFAULT_PREFIX = "/{db}."


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Address:
    """One place where workers listen.

    ``prefix`` is kombu's ``fanout_prefix`` as a text, empty where it is switched off; ``{db}`` in it stands
    for the database, and the default for what the connection itself has. With ``legacy`` the workers of kombu
    below 5.4 on Sentinel are reached too, which do not replace ``{db}``.
    """

    exchange: str = DEFAULT_EXCHANGE
    prefix: str = DEFAULT_PREFIX
    legacy: bool = False

    def __str__(self) -> str:
        changed = [f"control_exchange={self.exchange!r}"]
        if self.prefix != DEFAULT_PREFIX:
            changed.append(f"fanout_prefix={self.prefix or False!r}")
        if self.legacy:
            changed.append("sentinel_fanout_compat=True")
        return " and ".join(changed)


class Addresses:
    """The addresses in use. ``exchanges`` and ``prefix`` are what was given; what is not is found.

    ``tries_legacy`` is True where old workers on Sentinel may be in the fleet.
    """

    def __init__(
        self, exchanges: Collection[str] = (), prefix: str | None = None, *, tries_legacy: bool = False
    ) -> None:
        self._given = tuple(dict.fromkeys(exchanges))
        self._prefix = prefix
        self._tries_legacy = tries_legacy
        self._current = tuple(
            Address(exchange=exchange, prefix=DEFAULT_PREFIX if prefix is None else prefix)
            for exchange in self._given or (DEFAULT_EXCHANGE,)
        )

    @property
    def current(self) -> tuple[Address, ...]:
        """Where commands go now."""
        return self._current

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Their exchanges, each once."""
        return tuple(dict.fromkeys(address.exchange for address in self._current))

    @property
    def searches_exchanges(self) -> bool:
        """Whether the exchanges are to be found."""
        return not self._given

    def candidates(self, exchanges: Collection[str]) -> tuple[Address, ...]:
        """Where workers of these exchanges, or of those that were given, may listen beside the current."""
        prefixes = (DEFAULT_PREFIX, "") if self._prefix is None else (self._prefix,)
        searched = (DEFAULT_EXCHANGE, *exchanges) if exchanges else ()
        names = self._given or tuple(dict.fromkeys((*self.exchanges, *searched)))
        found = [Address(exchange=name, prefix=prefix) for name in names for prefix in prefixes]
        if self._tries_legacy:
            found += [Address(exchange=name, prefix=prefixes[0], legacy=True) for name in names]
        reached = {*self._current, *(replace(one, legacy=False) for one in self._current)}
        return tuple(address for address in found if address not in reached)

    def use(self, found: Collection[Address]) -> None:
        """Send commands there from now on; a legacy address stands for the one it contains, too."""
        contained = {(one.exchange, one.prefix) for one in found if one.legacy}
        self._current = tuple(
            sorted(one for one in set(found) if one.legacy or (one.exchange, one.prefix) not in contained)
        )
