"""What processing found in a document: its own fields, its text and its attachments.

Values only. The code that reads bytes (``ingest.extract``) produces them; the code that stores them
(``postgres.documents``) consumes them; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docservice.domain.documents import DocumentType


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The type of a file, detected from its first bytes."""

    document_type: DocumentType
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One attachment of a mail; ``part`` is its index among them, from 0."""

    part: int
    file_name: str
    content: Content
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The result of processing one document. A title of None keeps the document's current title."""

    mail_number: str | None = None
    title: str | None = None
    sender: str | None = None
    text: str | None = None
    pages: int | None = None
    attachments: tuple[Attachment, ...] = ()
