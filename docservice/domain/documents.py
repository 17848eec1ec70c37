"""What a document is and the states it goes through.

What belongs here: values only. ``received -> processing -> processed | failed``; a claim that
expires returns a document to ``received``. Times are aware datetimes in UTC, sizes are bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

#: A module's name, in any letter case, as a pattern of JSON Schema.
MODULE_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
_MODULE = re.compile(MODULE_PATTERN.strip("^$"), re.ASCII)
#: How deep mails may be nested within mails.
DEEPEST = 5


class ModuleNameError(ValueError):
    """The text is not the name of a module; the message says what is legal."""


@lru_cache(maxsize=256)  # each request asks; only legal names, of 63 characters at most, are kept
def module_name(text: str) -> str:
    """The one form of a module's name, whatever its letter case.

    Raises:
        ModuleNameError: when it is not 1 to 63 ASCII letters, digits, ``-`` or ``_``.
    """
    # Checked before it is lowered: the Kelvin sign lowers to an ASCII k.
    if _MODULE.fullmatch(text) is None:
        raise ModuleNameError(
            f"a module's name has 1 to 63 ASCII letters, digits, '-' or '_', not {text[:80]!r}"
        )
    return text.lower()


class State(StrEnum):
    """The state of a document."""

    RECEIVED = "received"
    PROCESSING = "processing"
    PROCESSED = "processed"
    FAILED = "failed"


class DocumentType(StrEnum):
    """The type of a document, found from its content."""

    EMAIL = "email"
    PDF = "pdf"
    TEXT = "text"
    IMAGE = "image"
    ARCHIVE = "archive"
    OFFICE = "office"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A document whose bytes are already stored and whose row is not."""

    module: str
    document_type: DocumentType
    file_name: str
    content_type: str
    size_bytes: int
    sha256: str
    blob_key: str
    mail_number: str | None = None

    def __post_init__(self) -> None:
        if module_name(self.module) != self.module:
            raise ModuleNameError(f"a module's name is stored in lower case, not as {self.module!r}")
        if self.size_bytes < 0:
            raise ValueError(f"size_bytes is 0 or more, not {self.size_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One document that one worker may process; ``attempt`` distinguishes this claim from an earlier one.

    ``tries`` counts the attempts since the upload, or since a user had the document retried. For
    ``refused_seconds`` the store has refused a file of it while it took others. ``traceparent`` is the trace
    that it belongs to.
    """

    id: int
    module: str
    document_type: DocumentType
    file_name: str
    size_bytes: int
    blob_key: str
    mail_number: str | None
    depth: int
    attempt: int
    tries: int
    refused_seconds: float = 0.0
    traceparent: str | None = None


_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def file_name(text: str | None, *, otherwise: str = "unnamed") -> str:
    """A file's name from outside, made safe: its last part, printable, at most 200 characters.

    It is shown and searched, and never used as a path.
    """
    last = (text or "").replace("\\", "/").rsplit("/", 1)[-1]
    clean = _UNSAFE.sub("", storable(last)).strip(" .")
    return clean[-200:] or otherwise


def storable(text: str) -> str:
    """The text as Postgres can keep it: without NUL, halves of surrogate pairs replaced."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
