"""The text of a PDF's pages as PDFium reads it: the reader of Chromium, which has tables for many fonts.

It is native code: a hostile file may crash the process, so it is used in a child (``apart``) alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pypdfium2
import pypdfium2.raw

if TYPE_CHECKING:
    from collections.abc import Callable

#: PDFium's mark for a hyphen at the end of a line, whose two halves it joins.
_LINE_HYPHEN = "\ufffe"
_HYPHEN_OF_NUMBER = re.compile(rf"{_LINE_HYPHEN}(?=\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NativePage:
    """The text of a page; ``count_unnamed`` says how many of its letters the font does not name.

    Those are guessed. Counting them takes a call for each letter, longer than reading the page.
    """

    text: str
    count_unnamed: Callable[[], int]


class NativePdf:
    """A PDF that PDFium could open."""

    def __init__(self, document: pypdfium2.PdfDocument) -> None:
        self._document = document

    @property
    def count(self) -> int:
        """The number of pages."""
        return len(self._document)

    def page(self, index: int, *, max_characters: int) -> NativePage | None:
        """One page with its stamps and the fields of its form; None when it cannot be read."""
        try:
            page = self._document[index]
            # Draws annotations and fields into the page, whose text they are then.
            pypdfium2.raw.FPDFPage_Flatten(page, pypdfium2.raw.FLAT_NORMALDISPLAY)
            page.close()
            page = self._document[index]
            letters = page.get_textpage()
            count = min(letters.count_chars(), max_characters)
            text = letters.get_text_range(0, count) if count else ""
        except pypdfium2.PdfiumError:
            return None
        return NativePage(text=_plain(text), count_unnamed=lambda: _count_unnamed(letters, count))


def _count_unnamed(letters: pypdfium2.PdfTextPage, count: int) -> int:
    return sum(pypdfium2.raw.FPDFText_HasUnicodeMapError(letters, place) == 1 for place in range(count))


def open_natively(data: bytes) -> NativePdf | None:
    """The PDF, or None when PDFium cannot read it."""
    try:
        document = pypdfium2.PdfDocument(data)
        document.init_forms()
        return NativePdf(document) if len(document) else None
    except pypdfium2.PdfiumError:
        return None


def _plain(text: str) -> str:
    text = _HYPHEN_OF_NUMBER.sub("-", text.replace("\r\n", "\n"))
    return text.replace(_LINE_HYPHEN, "")
