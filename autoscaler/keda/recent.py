"""What was used last, up to so many: callers may ask for ever new names, and memory stays bounded."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

_Key = TypeVar("_Key", bound="Hashable")
_Value = TypeVar("_Value")
#: No cluster has so many ScaledObjects of one fleet, and none of them so many queues.
MAX_RECENT = 2000


class Recent(Generic[_Key, _Value]):
    """Values by key. Beyond :data:`MAX_RECENT` the one that was not used for the longest time goes.

    Calls may come from many threads.
    """

    def __init__(self) -> None:
        self._values: dict[_Key, _Value] = {}
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """The value, None where there is none; it is the newest then."""
        with self._lock:
            if key not in self._values:
                return None
            value = self._values[key] = self._values.pop(key)
            return value

    def put(self, key: _Key, value: _Value) -> None:
        """Set the value; it is the newest then."""
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = value
            while len(self._values) > MAX_RECENT:
                del self._values[next(iter(self._values))]

    def drop(self, key: _Key) -> None:
        """Forget the value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    def items(self) -> list[tuple[_Key, _Value]]:
        """All of them, the newest last."""
        with self._lock:
            return list(self._values.items())
