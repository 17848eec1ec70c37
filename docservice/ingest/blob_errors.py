"""The faults of the store of blobs."""

from __future__ import annotations


class BlobError(RuntimeError):
    """The store of blobs does not answer, or lacks a blob; the same call may succeed later."""


class BlobMissingError(BlobError):
    """The store answers, and has no such blob."""


class BlobsAwayError(BlobError):
    """The store lacks its marker: it is not mounted, or another place is in its stead."""


class BlobsHangError(BlobError):
    """A call did not return in time. It may still take effect."""


class BlobNotStoredError(BlobError):
    """The store did not take a blob, as when it is full; what was left of it is removed."""


def reason(fault: Exception) -> str:
    """The fault in the words of the system, such as ``No space left on device``; they name no path."""
    return getattr(fault, "strerror", None) or type(fault).__name__
