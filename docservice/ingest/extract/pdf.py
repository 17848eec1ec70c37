"""The text, the form values and the number of pages of a PDF, read with pypdf and with PDFium.

Both read each page: pypdf finds and names what is damaged and knows the values of forms, PDFium knows more
fonts, and the text in which fewer letters are unreadable is kept. A child process reads (``apart``), page by
page: what crashes it, or needs too much memory or time, costs no page that was read by then, and a page that
only one of the two can read is read by that one. A damaged page costs that page alone, and is named in the
findings.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from docservice.domain.documents import storable
from docservice.domain.extraction import Extraction
from docservice.ingest.extract.apart import Crashed, in_child
from docservice.ingest.extract.limits import (
    MAX_FINDINGS,
    MAX_FORM_FIELDS,
    MAX_TEXT_CHARACTERS,
    READ_CHARACTERS,
    ProcessingError,
    kept_text,
)
from docservice.ingest.extract.pdf_native import open_natively
from docservice.ingest.extract.pdf_pypdf import checked_count, form_values, open_pypdf, page_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pypdf import PdfReader

    from docservice.ingest.extract.pdf_native import NativePage

#: Letters that fonts draw together, as two or three again, so that words can be found.
_LIGATURES = {0xFB00 + index: text for index, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}
#: What is no letter: a control character, U+FFFD, one for private use, or the name of a glyph in its place.
_UNREADABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff\u25a1]|/[A-Za-z]{1,4}\d{0,9}[0-9A-Fa-f]{2}"
)
#: What a child sends last.
_DONE = {"done": True}
#: A PDF of one letter.
_LETTER = (
    b"%PDF-1.4\n"
    b"1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n"
    b"2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj\n"
    b"3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R\n"
    b"/Resources << /Font << /F 5 0 R >> >> >> endobj\n"
    b"4 0 obj << /Length 20 >> stream\n"
    b"BT /F 9 Tf (a) Tj ET\n"
    b"endstream endobj\n"
    b"5 0 obj << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> endobj\n"
    b"xref\n"
    b"0 6\n"
    b"0000000000 65535 f \n"
    b"0000000009 00000 n \n"
    b"0000000058 00000 n \n"
    b"0000000115 00000 n \n"
    b"0000000236 00000 n \n"
    b"0000000306 00000 n \n"
    b"trailer << /Size 6 /Root 1 0 R >>\n"
    b"startxref\n"
    b"376\n"
    b"%%EOF\n"
)


@dataclass(slots=True)
class _Found:
    """What the child has sent by now."""

    pages: int = 0
    texts: list[str] = field(default_factory=list)
    #: What PDFium found on the page that pypdf reads now.
    draft: str | None = None
    values: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def place(self) -> str:
        """What is being read."""
        return f"page {len(self.texts) + 1}" if self.pages else "the PDF"

    @property
    def all_read(self) -> bool:
        """Whether no page is missing."""
        return 0 < self.pages <= len(self.texts)

    def take(self, item: dict[str, Any]) -> None:
        """One item that the child has sent."""
        match item:
            case {"pages": int(pages)}:
                self.pages = pages
            case {"draft": str(draft)}:
                self.draft = draft
            case {"text": str(text), "finding": finding}:
                self.draft = text
                self.keep_draft(finding)
            case {"finding": str(finding)}:
                self.findings.append(finding)
            case {"value": str(value)}:
                self.values.append(value)
            case {"failure": str(failure)}:
                self.failure = failure

    def keep_draft(self, finding: str | None = None) -> None:
        """Take what PDFium found on the page, and nothing else."""
        if finding:
            self.findings.append(f"{self.place} {finding}")
        self.texts.append(self.draft or "")
        self.draft = None


def read_pdf(data: bytes, in_time: Callable[[], bool]) -> Extraction:
    """The text of all pages, and their number. ``in_time`` says whether reading may go on.

    Raises:
        ProcessingError: when no page can be reached, a password is needed, or there are too many pages.
        MemoryError: when a page needs more memory than a document may use.
        Killed: when the child was killed from outside; another time it may be read.
    """
    _warm_up()
    found = _Found()
    native = True
    while not _collect(data, found, in_time, native=native):
        native = False
    if found.failure:
        raise ProcessingError(found.failure)
    pages = "\n".join(found.texts)
    values = [value for value in found.values if value not in pages]
    text, cut = kept_text(storable("\n".join([pages, *values])))
    return Extraction(text=text, pages=found.pages, findings=(*cut, *found.findings)[:MAX_FINDINGS])


@cache
def _warm_up() -> None:
    """Have pypdf load, once for all children, what its first page needs: half of a small PDF's time."""
    deque(_items(_LETTER, 0, 1, native=False), maxlen=0)


def _collect(data: bytes, found: _Found, in_time: Callable[[], bool], *, native: bool) -> bool:
    """Let children read what is missing. False where PDFium crashed, which is not to be asked again.

    Raises:
        ProcessingError, MemoryError: when pypdf alone ended its child early.
    """
    while True:
        try:
            _receive(data, found, in_time, native=native)
        except (Crashed, MemoryError) as fault:
            reason = str(fault) or "out of memory"
            if found.draft is not None:
                found.keep_draft(f"could not be read by pypdf ({reason})")
                continue
            if found.all_read:
                found.findings.append(f"the values of its form could not be read ({reason})")
            elif native:
                found.findings.append(f"{found.place} made PDFium crash ({reason}); pypdf went on alone")
                return False
            elif isinstance(fault, Crashed):
                raise ProcessingError(f"reading {found.place} crashed ({reason})") from fault
            else:
                raise
        return True


def _receive(data: bytes, found: _Found, in_time: Callable[[], bool], *, native: bool) -> None:
    """Let a child read from the first page on that is missing.

    Raises:
        Crashed, MemoryError: when the child ends early.
    """
    first = len(found.texts)
    left = READ_CHARACTERS - sum(map(len, found.texts))
    with in_child(lambda: _read(data, first, left, native=native)) as child:
        for item in child.receive(in_time):
            if item == _DONE:
                return
            found.take(item)
    if found.draft is not None:
        found.keep_draft()
    if not found.pages:
        found.failure = "reading the PDF takes too long"
    elif not found.all_read:
        found.findings.append(f"reading takes too long; it ended before {found.place} of {found.pages}")


# In the child


def _read(data: bytes, first: int, left: int, *, native: bool) -> Iterator[dict[str, Any]]:
    """What is in the PDF from the page ``first`` on, item by item, with ``left`` characters at most."""
    try:
        yield from _items(data, first, left, native=native)
    except ProcessingError as fault:
        yield {"failure": str(fault)}
    yield _DONE


def _items(data: bytes, first: int, left: int, *, native: bool) -> Iterator[dict[str, Any]]:
    other = open_natively(data) if native else None
    reader, damage = None, None
    pages: list[Any] = []
    try:
        reader, pages = open_pypdf(data)
    except ProcessingError as fault:
        if other is None:
            raise
        damage = str(fault)
    count = max(len(pages), checked_count(other.count) if other else 0)
    yield {"pages": count}
    if damage and not first:
        yield {"finding": damage}
    for index in range(first, count):
        if left <= 0:
            break
        second = other.page(index, max_characters=left) if other and index < other.count else None
        if second:
            yield {"draft": _clean(second.text, left)}
        text, stamps, reason = page_text(pages[index]) if index < len(pages) else (None, [], None)
        kept = _clean(_better(text or "", stamps, second), left)
        left -= len(kept)
        whole = text is not None or second is not None
        yield {
            "text": kept,
            "finding": reason and f"{'is damaged' if whole else 'could not be read'} ({reason})",
        }
    if reader is not None:
        yield from _values(reader, pages)


def _values(reader: PdfReader, pages: list[Any]) -> Iterator[dict[str, Any]]:
    """The values of the form, each once: one list of options may belong to thousands of fields."""
    left = MAX_TEXT_CHARACTERS
    sent: set[str] = set()
    for value in form_values(reader, pages):
        if value in sent:
            continue
        if left <= 0 or len(sent) == MAX_FORM_FIELDS:
            yield {"finding": "its form has more values than are kept"}
            return
        sent.add(value)
        yield {"value": storable(value[:left])}
        left -= len(value)


def _clean(text: str, left: int) -> str:
    return storable(text.translate(_LIGATURES))[:left]


def _better(text: str, stamps: list[str], second: NativePage | None) -> str:
    """PDFium's text of a page where the fonts name its letters, else the one with fewer unreadable ones."""
    if second is None or not second.text.strip():
        return "\n".join([text, *stamps])
    letters = _letters(second.text)
    if text.strip() and _letters(text) != letters:
        unreadable = len(_UNREADABLE.findall(text))
        if second.count_unnamed() > unreadable:
            return "\n".join([text, *stamps])
    return "\n".join([second.text, *(stamp for stamp in stamps if _letters(stamp) not in letters)])


def _letters(text: str) -> str:
    return "".join(text.split())
