"""What processing found in a document: its own fields, its text and its attachments.

Values only. The code that reads bytes (``ingest.extract``) produces them; the code that stores them
(``postgres.documents``) consumes them; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

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
    """The result of processing one document. A title of None keeps the document's current title.

    ``sender``, ``to_addresses`` and ``cc_addresses`` are lists such as ``Ann <a@example.org>, b@b.org``;
    ``sent_at`` is the moment of the mail's own ``Date``, in UTC; ``findings`` are sentences on what could not
    be read unchanged.
    """

    mail_number: str | None = None
    title: str | None = None
    sender: str | None = None
    to_addresses: str | None = None
    cc_addresses: str | None = None
    message_id: str | None = None
    sent_at: datetime | None = None
    text: str | None = None
    pages: int | None = None
    attachments: tuple[Attachment, ...] = ()
    findings: tuple[str, ...] = ()
