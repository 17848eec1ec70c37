"""A page is repaired as viewers repair it: forms without fonts, short filter names, broken form fields."""

from __future__ import annotations

import base64
import io
from typing import Any

import pypdf
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from docservice.dev.samples import sample_pdf
from docservice.domain.extraction import Extraction
from docservice.ingest.extract.pdf_repair import lend_fonts
from tests.docservice.ingest.extract.reading import read


def one_page(text: str = "page") -> pypdf.PdfWriter:
    writer = pypdf.PdfWriter()
    writer.append(io.BytesIO(sample_pdf(text)))
    return writer


def written(writer: pypdf.PdfWriter) -> bytes:
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def form(text: str, **more: Any) -> DecodedStreamObject:
    """A form that draws a text with the font of the page, and names no fonts of its own."""
    made = DecodedStreamObject()
    made.set_data(b"BT /F1 12 Tf (" + text.encode() + b") Tj ET")
    made.update({NameObject("/Subtype"): NameObject("/Form"), NameObject("/Type"): NameObject("/XObject")})
    made.update({NameObject(key): value for key, value in more.items()})
    return made


def test_a_form_that_has_no_fonts_takes_those_of_its_page() -> None:
    for resources in ({}, {"/Resources": DictionaryObject()}, {"/Resources": NumberObject(7)}):
        writer = one_page()
        page = writer.pages[0]
        drawn = writer._add_object(form("in the form", **resources))
        page["/Resources"][NameObject("/XObject")] = DictionaryObject({NameObject("/X"): drawn})  # type: ignore[index]
        content = DecodedStreamObject()
        content.set_data(page.get_contents().get_data() + b"\n/X Do\n")  # type: ignore[union-attr]
        page[NameObject("/Contents")] = writer._add_object(content)
        found = read(written(writer))
        assert ("in the form" in (found.text or ""), "page" in (found.text or "")) == (True, True)


def test_an_annotation_that_has_no_fonts_takes_those_of_its_page() -> None:
    writer = one_page()
    appearance = DictionaryObject({NameObject("/N"): writer._add_object(form("press here"))})
    note = DictionaryObject(
        {NameObject("/Subtype"): NameObject("/FileAttachment"), NameObject("/AP"): appearance}
    )
    writer.pages[0][NameObject("/Annots")] = ArrayObject([TextStringObject("broken"), note])
    assert read(written(writer)) == Extraction(text="page\npress here", pages=1)


def test_short_names_of_filters_are_understood() -> None:
    writer = one_page()
    content = DecodedStreamObject()
    content.set_data(base64.a85encode(writer.pages[0].get_contents().get_data()) + b"~>")  # type: ignore[union-attr]
    content[NameObject("/Filter")] = ArrayObject([NameObject("/A85")])
    writer.pages[0][NameObject("/Contents")] = writer._add_object(content)
    assert read(written(writer)) == Extraction(text="page", pages=1)


def test_where_the_form_is_broken_its_fields_are_found_on_the_pages() -> None:
    writer = one_page("Name:")
    field = named(
        {
            "/T": TextStringObject("name"),
            "/FT": NameObject("/Tx"),
            "/V": TextStringObject("Ann Example"),
            "/Subtype": NameObject("/Widget"),
        }
    )
    child = writer._add_object(named({"/Parent": NumberObject(1)}))
    button = named(
        {
            "/T": TextStringObject("sure"),
            "/FT": NameObject("/Btn"),
            "/Ff": NumberObject(1 << 15),
            "/Kids": ArrayObject([child]),
        }
    )
    shown = writer._add_object(field)
    fields = ArrayObject([writer._add_object(button), shown])
    writer.root_object[NameObject("/AcroForm")] = DictionaryObject({NameObject("/Fields"): fields})
    writer.pages[0][NameObject("/Annots")] = ArrayObject([shown])
    assert read(written(writer)) == Extraction(text="Name:\nAnn Example", pages=1)


def test_a_variant_of_a_letter_is_that_letter() -> None:
    names = ["one.oldstyle", "a.sc", "f_f_i", "c", ".notdef"]
    differences = ArrayObject([NumberObject(65), *(NameObject(f"/{name}") for name in names)])
    writer = one_page()
    page: Any = writer.pages[0]
    encoding = named({"/Type": NameObject("/Encoding"), "/Differences": differences})
    font = {
        "/Type": NameObject("/Font"),
        "/Subtype": NameObject("/Type1"),
        "/BaseFont": NameObject("/Helvetica"),
        "/Encoding": writer._add_object(encoding),
    }
    page["/Resources"]["/Font"][NameObject("/F9")] = writer._add_object(named(font))
    content = DecodedStreamObject()
    content.set_data(b"BT /F9 12 Tf 10 10 Td (ABCD) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(content)
    assert read(written(writer)) == Extraction(text="1affic", pages=1)


def compact_font(**codes: int) -> bytes:
    """A font program in CFF with an encoding of its own: a code for each glyph name."""
    pen = T2CharStringPen(500, None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 500))
    pen.lineTo((400, 0))
    pen.closePath()
    glyphs = dict.fromkeys([".notdef", *codes], pen.getCharString())
    made = FontBuilder(1000, isTTF=False)
    made.setupGlyphOrder(list(glyphs))
    made.setupCFF("Test", {"FullName": "Test"}, glyphs, {})
    table = made.font["CFF "].cff
    encoding = [".notdef"] * 256
    for name, code in codes.items():
        encoding[code] = name
    table.topDictIndex[0].Encoding = encoding
    data = io.BytesIO()
    table.compile(data, made.font)
    return data.getvalue()


def test_letters_that_the_font_alone_knows_are_read_ligatures_too() -> None:
    writer = one_page()
    program = DecodedStreamObject()
    program.set_data(compact_font(fi=12, r=ord("r"), s=ord("s"), t=ord("t")))
    program[NameObject("/Subtype")] = NameObject("/Type1C")
    descriptor = {"/Type": NameObject("/FontDescriptor"), "/FontFile3": writer._add_object(program)}
    font = {
        "/Type": NameObject("/Font"),
        "/Subtype": NameObject("/Type1"),
        "/BaseFont": NameObject("/AAAAAA+Test"),
        "/FirstChar": NumberObject(12),
        "/LastChar": NumberObject(ord("t")),
        "/Widths": ArrayObject([NumberObject(500)] * (ord("t") - 11)),
        "/FontDescriptor": named(descriptor | {"/FontName": NameObject("/AAAAAA+Test")}),
    }
    page: Any = writer.pages[0]
    page["/Resources"]["/Font"][NameObject("/F9")] = writer._add_object(named(font))
    content = DecodedStreamObject()
    content.set_data(b"BT /F9 12 Tf 10 10 Td (\x0crst) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(content)
    assert read(written(writer)) == Extraction(text="first", pages=1)


def named(values: dict[str, Any]) -> DictionaryObject:
    return DictionaryObject({NameObject(name): value for name, value in values.items()})


def test_a_form_takes_only_the_fonts_that_it_draws_with() -> None:
    page: Any = one_page().pages[0]
    drawn = form("x")
    page["/Resources"][NameObject("/XObject")] = named({"/X": drawn})
    page["/Resources"]["/Font"][NameObject("/F7")] = page["/Resources"]["/Font"]["/F1"]
    lend_fonts(page)
    resources: Any = drawn["/Resources"]
    assert list(resources["/Font"]) == ["/F1"]
