"""What PDFium reads, and which of the two readings of a page is kept."""

from __future__ import annotations

import io

import pypdf
import pytest
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, NumberObject

from docservice.dev.samples import sample_pdf
from docservice.domain.extraction import Extraction
from docservice.ingest.extract.pdf_native import open_natively
from tests.docservice.ingest.extract.reading import read


def page(content: bytes, **encoding: NameObject | ArrayObject) -> bytes:
    """A page with this content, whose font F1 has this encoding."""
    writer = pypdf.PdfWriter()
    writer.append(io.BytesIO(sample_pdf("x")))
    stream = DecodedStreamObject()
    stream.set_data(b"BT /F1 12 Tf 100 700 Td " + content + b" ET")
    writer.pages[0][NameObject("/Contents")] = writer._add_object(stream)
    if encoding:
        font = writer.pages[0]["/Resources"]["/Font"]["/F1"]  # type: ignore[index]
        made = {NameObject(f"/{name}"): value for name, value in encoding.items()}
        font[NameObject("/Encoding")] = DictionaryObject(made)
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def test_a_letter_whose_name_no_list_has_is_read_by_its_code() -> None:
    names = ArrayObject([NumberObject(65), NameObject("/LW010000"), NameObject("/LW010001")])
    assert read(page(b"(AB) Tj", Differences=names)) == Extraction(text="AB", pages=1)


@pytest.mark.parametrize(
    ("first", "second", "read_as"),
    [("infor-", "mation", "information"), ("MN-", "2026-0001", "MN-2026-0001"), ("one", "two", "one\ntwo")],
)
def test_a_word_that_a_line_divides_is_one_and_a_number_keeps_its_hyphen(
    first: str, second: str, read_as: str
) -> None:
    found = read(page(f"({first}) Tj 0 -14 Td ({second}) Tj".encode()))
    assert found == Extraction(text=read_as, pages=1)


def test_what_pdfium_cannot_open_is_none_and_a_page_is_bounded() -> None:
    assert open_natively(b"%PDF-1.7\nnothing at all") is None
    opened = open_natively(sample_pdf("Find me please"))
    assert opened is not None
    found = opened.page(0, max_characters=7)
    assert found is not None
    assert (opened.count, found.text, found.count_unnamed()) == (1, "Find me", 0)
    assert opened.page(9, max_characters=7) is None
