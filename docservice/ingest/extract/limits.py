"""The bounds on reading one document, and the error for a document that exceeds them or cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docservice.domain.number_pattern import NumberPattern

MAX_TEXT_CHARACTERS = 1_000_000
#: One more than is kept shows that there is more.
READ_CHARACTERS = MAX_TEXT_CHARACTERS + 1
MAX_TITLE_CHARACTERS = 500
#: Of a list of recipients.
MAX_ADDRESSES_CHARACTERS = 10_000
MAX_ADDRESSES = 1_000
MAX_MESSAGE_ID_CHARACTERS = 998
#: A header's value is decoded up to this length; what follows is ignored.
MAX_HEADER_VALUE_BYTES = 64 * 1024
#: Header fields of one part, and lines of one field; those that follow are skipped.
MAX_HEADERS = 5_000
MAX_PARTS = 10_000
MAX_PART_DEPTH = 50
#: Opaque S/MIME signatures of one mail, one within the other or side by side.
MAX_SIGNATURES = 20
MAX_PDF_PAGES = 2_000
#: Looked through for pages where the tree of pages is damaged.
MAX_PDF_OBJECTS = 100_000
MAX_FORM_FIELDS = 10_000
#: Of one page, with an appearance of their own: stamps, signatures, filled fields.
MAX_ANNOTATIONS = 5_000
MAX_FINDINGS = 20


class ProcessingError(ValueError):
    """The document can never be processed; the message says why."""


def kept_text(text: str) -> tuple[str, tuple[str, ...]]:
    """The text as far as it is kept, and the finding that says so where that is not all."""
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text, ()
    return text[:MAX_TEXT_CHARACTERS], (f"of its text the first {MAX_TEXT_CHARACTERS} characters are kept",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings for mails. ``max_attachments`` and ``max_bytes`` bound the attachments of one mail."""

    mail_number_header: str
    mail_number_pattern: NumberPattern
    max_attachments: int
    max_bytes: int
