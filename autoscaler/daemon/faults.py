"""What the outside world may raise in a tick. Everything else is a fault of our own."""

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from autoscaler.broker.connections import RedisUrlError

FAULTS = (OSError, RedisError, KombuError, RedisUrlError)


def described(fault: BaseException) -> str:
    """The fault in one line: its type and its message."""
    return f"{type(fault).__name__}: {fault}"
