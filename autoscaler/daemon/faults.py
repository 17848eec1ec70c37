"""What the outside world may raise in a tick. Everything else is a fault of our own."""

from autoscaler.broker.errors import BrokerError

FAULTS = (BrokerError, OSError)


def described(fault: BaseException) -> str:
    """The fault in one line: a broker error with what to do about it, any other by type and message."""
    return fault.with_advice() if isinstance(fault, BrokerError) else f"{type(fault).__name__}: {fault}"
