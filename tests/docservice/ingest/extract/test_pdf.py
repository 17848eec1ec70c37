"""PDFs are read as far as they can be, and a password is called a password."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import psutil
import pypdf
import pytest
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from docservice.dev.samples import sample_pdf
from docservice.domain.documents import DocumentType
from docservice.domain.extraction import Extraction
from docservice.ingest.extract.limits import ProcessingError
from docservice.ingest.extract.process import process
from tests.docservice.ingest.extract.reading import RULES, read

PDF = sample_pdf("Find me please")
FOUND = Extraction(text="Find me please", pages=1)


def of_pages(*texts: str) -> pypdf.PdfWriter:
    writer = pypdf.PdfWriter()
    for text in texts:
        writer.append(io.BytesIO(sample_pdf(text)))
    return writer


def written(writer: pypdf.PdfWriter) -> bytes:
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" + PDF,
        b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n" + PDF,
        PDF[: PDF.rfind(b"startxref")],
        PDF[: PDF.rfind(b"trailer")],
        PDF[: PDF.rfind(b"xref\n0")],
        re.sub(rb"startxref\n\d+", b"startxref\n99999", PDF),
        PDF + b"\0" * 5000,
    ],
)
def test_a_pdf_with_a_broken_frame_is_read(data: bytes) -> None:
    assert read(data) == FOUND


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256"])
def test_an_encrypted_pdf_is_read_without_a_password_and_refused_with_one(algorithm: str) -> None:
    for password in ("", "secret"):
        writer = of_pages("Find me please")
        writer.encrypt(user_password=password, owner_password="owner", algorithm=algorithm)
        data = written(writer)
        if not password:
            assert read(data) == FOUND
            continue
        with pytest.raises(ProcessingError) as refused:
            read(data)
        assert str(refused.value) == "the PDF is protected by a password; upload a copy without one"


def unreadable_stream() -> DecodedStreamObject:
    stream = DecodedStreamObject()
    stream.set_data(b"not packed")
    stream[NameObject("/Filter")] = NameObject("/LZWDecode")
    return stream


def test_a_damaged_page_costs_that_page_alone() -> None:
    writer = of_pages("one", "two", "three")
    writer.pages[1][NameObject("/Contents")] = writer._add_object(unreadable_stream())
    assert read(written(writer)) == Extraction(
        text="one\n\nthree", pages=3, findings=("page 2 is damaged (PdfStreamError)",)
    )


def test_a_page_is_read_as_far_as_its_streams_can_be_unpacked() -> None:
    writer = of_pages("one")
    good = writer.pages[0]["/Contents"].get_object()
    contents = ArrayObject([writer._add_object(good), writer._add_object(unreadable_stream())])
    writer.pages[0][NameObject("/Contents")] = contents
    assert read(written(writer)) == Extraction(
        text="one", pages=1, findings=("page 1 is damaged (PdfStreamError)",)
    )


def test_images_within_a_damaged_page_that_never_end_take_linear_time() -> None:
    writer = of_pages("one")
    images = DecodedStreamObject()
    images.set_data(b"BI " * 350_000)
    contents = ArrayObject([writer._add_object(images), writer._add_object(unreadable_stream())])
    writer.pages[0][NameObject("/Contents")] = contents
    end = time.monotonic() + 60  # quadratic time takes many minutes
    found = process(written(writer), DocumentType.PDF, RULES, in_time=lambda: time.monotonic() < end)
    assert found == Extraction(text="", pages=1, findings=("page 1 is damaged (PdfStreamError)",))


def field(name: str, kind: str, value: str, **more: object) -> DictionaryObject:
    made = {"/T": TextStringObject(name), "/FT": NameObject(kind), "/V": TextStringObject(value)}
    return DictionaryObject({NameObject(key): item for key, item in {**made, **more}.items()})


def test_what_was_filled_into_a_form_is_text() -> None:
    writer = of_pages("Name:")
    options = ArrayObject([TextStringObject("red"), TextStringObject("green")])
    fields = [
        field("name", "/Tx", "Ann Example"),
        field("colour", "/Ch", "red", **{"/Opt": options}),
        field("sure", "/Btn", "Yes"),
    ]
    form = DictionaryObject({NameObject("/Fields"): ArrayObject(writer._add_object(item) for item in fields)})
    writer.root_object[NameObject("/AcroForm")] = writer._add_object(form)
    assert read(written(writer)) == Extraction(text="Name:\nAnn Example\nred\ngreen", pages=1)


def test_a_stamp_on_a_page_is_text_and_a_hidden_one_is_not() -> None:
    writer = of_pages("page")
    font = writer.pages[0]["/Resources"]
    notes = ArrayObject()
    for text, flags in (("APPROVED", 4), ("SECRET", 2)):
        shown = DecodedStreamObject()
        shown.set_data(b"BT /F1 12 Tf (" + text.encode() + b") Tj ET")
        shown.update({NameObject("/Subtype"): NameObject("/Form"), NameObject("/Resources"): font})
        appearance = DictionaryObject({NameObject("/N"): writer._add_object(shown)})
        note = {NameObject("/Subtype"): NameObject("/Stamp"), NameObject("/F"): NumberObject(flags)}
        notes.append(DictionaryObject({**note, NameObject("/AP"): appearance}))
    writer.pages[0][NameObject("/Annots")] = notes
    assert read(written(writer)) == Extraction(text="page\nAPPROVED", pages=1)


def with_content(place: int, content: bytes) -> bytes:
    """Two pages, one of which has this content, packed."""
    writer = of_pages("one", "two")
    stream = DecodedStreamObject()
    stream.set_data(content)
    writer.pages[place][NameObject("/Contents")] = writer._add_object(stream.flate_encode(9))
    return written(writer)


@pytest.mark.slow
def test_a_page_that_takes_too_long_costs_itself_and_what_follows_alone() -> None:
    data, begun = with_content(1, b"BT /F1 12 Tf " + b"(a) Tj " * 8_000_000 + b"ET"), time.monotonic()
    before = psutil.Process().children()
    found = process(data, DocumentType.PDF, RULES, in_time=lambda: time.monotonic() < begun + 3)
    assert (found.text or "").splitlines()[0] == "one"
    assert (found.pages, [finding[:26] for finding in found.findings]) == (2, ["reading takes too long; it"])
    assert psutil.Process().children() == before, "the child that read it has ended"


WITH_LITTLE_MEMORY = """
import resource, sys
from docservice.domain.documents import DocumentType
from docservice.ingest.extract.process import process
from tests.docservice.ingest.extract.reading import RULES
resource.setrlimit(resource.RLIMIT_DATA, (200 * 2**20, 200 * 2**20))
found = process(sys.stdin.buffer.read(), DocumentType.PDF, RULES)
print([found.text, found.pages, found.findings])
"""


@pytest.mark.slow
def test_a_page_that_crashes_pdfium_costs_neither_the_process_nor_another_page() -> None:
    # PDFium aborts where it gets no memory, as any crash ends the process that reads; pypdf bounds itself.
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY],
        input=with_content(0, b" " * 300_000_000),
        capture_output=True,
        timeout=100,
        check=True,
    )
    crash = "page 1 made PDFium crash (SIG); pypdf went on alone"  # which signal depends on its build
    damage = "page 1 is damaged (LimitReachedError)"
    assert re.sub(r"SIG\w+", "SIG", done.stdout.decode().strip()) == str(["\ntwo", 2, (crash, damage)])


def test_without_time_nothing_is_read() -> None:
    with pytest.raises(ProcessingError) as refused:
        process(PDF, DocumentType.PDF, RULES, in_time=lambda: False)
    assert str(refused.value) == "reading the PDF takes too long"


def test_a_pdf_of_nothing_is_broken() -> None:
    with pytest.raises(ProcessingError, match="the PDF is broken"):
        read(b"%PDF-1.7\nnothing at all")


def test_a_page_that_is_nested_too_deep_for_pypdf_is_read_by_pdfium_and_costs_no_other() -> None:
    writer = of_pages("one", "two", "three")
    content = DecodedStreamObject()
    content.set_data(writer.pages[1]["/Contents"].get_object().get_data() + b"\n" + b"[" * 5000)
    writer.pages[1][NameObject("/Contents")] = writer._add_object(content)
    assert read(written(writer)) == Extraction(
        text="one\ntwo\nthree", pages=3, findings=("page 2 is damaged (RecursionError)",)
    )


def test_a_list_of_options_that_many_fields_share_is_kept_once_and_in_bounds() -> None:
    writer = of_pages("page")
    options = writer._add_object(ArrayObject(TextStringObject(f"option {one}") for one in range(11_000)))
    fields = ArrayObject(
        writer._add_object(field(f"list {one}", "/Ch", f"chosen {one}", **{"/Opt": options}))
        for one in range(50)
    )
    form = DictionaryObject({NameObject("/Fields"): fields})
    writer.root_object[NameObject("/AcroForm")] = writer._add_object(form)
    found = read(written(writer))
    assert (found.text, found.findings) == (
        "\n".join(["page", "chosen 0", *(f"option {one}" for one in range(9_999))]),
        ("its form has more values than are kept",),
    )
