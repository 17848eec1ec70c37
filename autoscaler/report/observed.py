"""What a tick has looked at: a condition is over only where somebody looked and it does not hold any more.

Pure. What the conditions are is in :mod:`~autoscaler.report.status`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from autoscaler.report import deployment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.model import WorkerReading

#: Kind and name of a condition.
Subject: TypeAlias = tuple[str, str]
#: Kinds that a sensor of their own tells, beside the backlog.
_READ_BY = {"lease": "lease", "mailbox": "mailboxes"}


class Tick(Protocol):
    """Of a :class:`~autoscaler.report.status.TickRecord` what was read and what was not."""

    @property
    def faults(self) -> Mapping[str, str]:
        """The error of each sensor that failed."""

    @property
    def answered(self) -> frozenset[str]:
        """The workers that answered, by name."""

    @property
    def looked_up(self) -> frozenset[str]:
        """The queues that were looked at, by name."""

    @property
    def workers(self) -> Mapping[str, WorkerReading]:
        """The last readings by name."""

    @property
    def missed(self) -> frozenset[str]:
        """The workers that were asked in vain and have a mailbox."""


def deployment_is_read(record: Tick) -> bool:
    """Whether both queues and workers were read: without either nothing is missing."""
    return not {"backlog", "pool"} & record.faults.keys()


def lease_is_read(record: Tick) -> bool:
    """Whether it is known who leads: a daemon that cannot ask does not act, and is no standby for that."""
    return not {"backlog", "lease"} & record.faults.keys()


def in_force(before: Mapping[Subject, str], found: Mapping[Subject, str], record: Tick) -> dict[Subject, str]:
    """The conditions ``found`` in a tick, and those from ``before`` whose subject it did not look at."""
    unseen = {
        subject: state
        for subject, state in before.items()
        if subject not in found and is_observed(subject, record) is False
    }
    return {**unseen, **found}


def is_observed(subject: Subject, record: Tick) -> bool | None:
    """Whether this tick looked at the subject: False where it could not, None where it does not any more.

    Without a look nothing is over: a worker that was killed has not got its companion.
    """
    kind, name = subject
    if kind in {"publish", "override"} or subject == ("sensor", "backlog"):
        return True
    if not {"backlog", _READ_BY.get(kind, "backlog")}.isdisjoint(record.faults):
        return False
    if kind in {"sensor", "lease"}:
        return True
    if kind in deployment.KINDS and (not deployment_is_read(record) or kind != deployment.NOT_CONSUMED):
        return deployment_is_read(record)
    if kind in {"queue", deployment.CLOCK, deployment.PRIORITIES, deployment.NOT_CONSUMED}:
        return True if name in record.looked_up else None
    return _is_observed_worker(name, record)


def _is_observed_worker(name: str, record: Tick) -> bool | None:
    if name in record.answered:
        return True
    # One that has removed its mailbox may reconnect, until it is not known any more.
    expected = "pool" in record.faults or name in record.workers or name in record.missed
    return False if expected else None
