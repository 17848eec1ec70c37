"""The pages and the form of a PDF as pypdf reads them, whatever is broken about the file.

Pure over bytes. A file without its index is read by its objects; of a damaged page what can be had is. pypdf
bounds what a stream unpacks to.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pypdf
from pypdf.errors import (
    DependencyError,
    DeprecationError,
    FileNotDecryptedError,
    PyPdfError,
    WrongPasswordError,
)
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, StreamObject

from docservice.domain.documents import storable
from docservice.ingest.extract.limits import (
    MAX_FORM_FIELDS,
    MAX_PDF_OBJECTS,
    MAX_PDF_PAGES,
    ProcessingError,
)
from docservice.ingest.extract.pdf_repair import (
    annotations_of,
    lend_fonts,
    name_glyphs_plainly,
    write_filters_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PASSWORD = "the PDF is protected by a password; upload a copy without one"  # noqa: S105 - a sentence
#: Flags of annotations: hidden, and not shown on screen.
_INVISIBLE = 2 | 32
#: Flag of a field: a list that is folded until it is opened.
_COMBO = 1 << 17
#: Matches from every beginning, with an end or without: one that failed would cost its length for each.
_INLINE_IMAGE = re.compile(rb"(?<![!-~])BI\s(?:(?!\sEI\s).){0,1000000}+(?:\sEI\s)?", re.DOTALL)


def open_pypdf(data: bytes) -> tuple[pypdf.PdfReader, list[Any]]:
    """A reader, and its pages.

    Raises:
        ProcessingError: when it cannot be read, with the reason.
    """
    try:
        return _opened(data)
    except (ProcessingError, MemoryError):
        raise
    except RecursionError as fault:
        raise ProcessingError("its parts are nested too deep") from fault
    except (FileNotDecryptedError, WrongPasswordError) as fault:
        raise ProcessingError(_PASSWORD) from fault
    except (DependencyError, NotImplementedError) as fault:
        raise ProcessingError(f"the PDF uses what cannot be read here: {_reason(fault)}") from fault
    except PyPdfError as fault:
        raise ProcessingError(f"the PDF is broken: {_reason(fault)}") from fault
    except Exception as fault:
        # pypdf meets broken files with KeyError, AttributeError, ValueError and more.
        raise ProcessingError(f"the PDF is broken ({type(fault).__name__})") from fault


def _reason(fault: Exception) -> str:
    return storable(str(fault))[:200] or type(fault).__name__


def _opened(data: bytes) -> tuple[pypdf.PdfReader, list[Any]]:
    """A reader, and its pages.

    The end of the file may be lost, and with it the place of the index: then an index is named that is not
    there, on which pypdf looks for the objects themselves.
    """
    try:
        return _unlocked(data)
    except (ProcessingError, RecursionError, MemoryError, FileNotDecryptedError, NotImplementedError):
        raise
    except Exception as fault:
        begin = max(data.find(b"%PDF-"), 0)
        for repaired in (data[begin:] + b"\nstartxref\n0\n%%EOF\n", _with_trailer(data[begin:])):
            try:
                return _unlocked(repaired)
            except (ProcessingError, RecursionError, MemoryError):
                raise
            except Exception:  # noqa: BLE001, S112 - the first fault is the one to report
                continue
        raise fault from None


def _with_trailer(data: bytes) -> bytes:
    """The file with a trailer that names its catalogue, for one that lost both."""
    catalogue = data.rfind(b"/Catalog")
    start = data.rfind(b" obj", 0, max(catalogue, 0))
    found = re.search(rb"(\d{1,10} \d{1,5})$", data[max(start - 20, 0) : max(start, 0)])
    number = found[1] if found else b"1 0"
    return data + b"\ntrailer\n<< /Root %s R /Size 1 >>\nstartxref\n0\n%%%%EOF\n" % number


def _unlocked(data: bytes) -> tuple[pypdf.PdfReader, list[Any]]:
    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        if not _only_attachments_are_encrypted(reader):
            raise ProcessingError(_PASSWORD)
        reader = pypdf.PdfReader(io.BytesIO(data.replace(b"/Encrypt", b"/Ignored")))
    try:
        return reader, [reader.pages[number] for number in range(checked_count(len(reader.pages)))]
    except (ProcessingError, RecursionError, MemoryError):
        raise
    except Exception:
        pages = list(_stray_pages(reader))
        if not pages:
            raise
        return reader, pages


def checked_count(pages: int) -> int:
    """The number of pages.

    Raises:
        ProcessingError: when there are too many.
    """
    if pages > MAX_PDF_PAGES:
        raise ProcessingError(f"the PDF has {pages} pages; at most {MAX_PDF_PAGES} are read")
    return pages


def _only_attachments_are_encrypted(reader: pypdf.PdfReader) -> bool:
    rules: Any = reader.trailer["/Encrypt"].get_object()
    return all(
        rules.get(name, "/Identity" if "/CF" in rules else "") == "/Identity" for name in ("/StmF", "/StrF")
    )


def _stray_pages(reader: pypdf.PdfReader) -> Iterator[pypdf.PageObject]:
    """The pages of a file whose tree of pages is damaged, in the order of their numbers."""
    numbers = {number for table in reader.xref.values() for number in table} | set(reader.xref_objStm)
    for number in sorted(numbers)[:MAX_PDF_OBJECTS]:
        try:
            found = reader.get_object(number)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - the other objects are read all the same
            continue
        if isinstance(found, DictionaryObject) and found.get("/Type") == "/Page":
            page = pypdf.PageObject(reader)
            page.update(found)
            yield page


def page_text(page: pypdf.PageObject) -> tuple[str | None, list[str], str | None]:
    """The text of a page, what is drawn on top, and what is wrong with it.

    Of a damaged page the text is what can be had; None where that is nothing.
    """
    name_glyphs_plainly(page)
    lend_fonts(page)
    try:
        try:
            return page.extract_text(), _stamps(page), None
        except DeprecationError:
            write_filters_out(page)
            lend_fonts(page)
            return page.extract_text(), _stamps(page), None
    except MemoryError:
        raise
    except Exception as fault:  # noqa: BLE001 - pypdf meets broken pages with many kinds
        reason = type(fault).__name__
    try:
        content = DecodedStreamObject()
        content.set_data(_readable_content(page))
        page[NameObject("/Contents")] = content
        return page.extract_text(), _stamps(page), reason
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the same
        return None, [], reason


def _stamps(page: pypdf.PageObject) -> list[str]:
    """What is drawn on top of a page: stamps, signatures, notes and the fields of a form."""
    written = [_annotation_text(page, item).strip("\n") for item in annotations_of(page)]
    return [text for text in written if text.strip()]


def _annotation_text(page: pypdf.PageObject, annotation: Any) -> str:
    try:
        if int(annotation.get("/F", 0)) & _INVISIBLE:
            return ""
        shown = annotation["/AP"]["/N"].get_object()
        if not isinstance(shown, StreamObject):  # one for each state, as of a check box
            shown = shown[annotation["/AS"]].get_object()
        return page.extract_xform_text(shown, (0, 90, 180, 270), 200.0)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - most annotations have no appearance, and a broken one has no text
        return ""


def _readable_content(page: Any) -> bytes:
    """The streams of a page that can be unpacked, without the images among the text."""
    content = page["/Contents"].get_object()
    streams = content if isinstance(content, ArrayObject) else [content]
    written = []
    for item in streams:
        try:
            stream = item.get_object()
            written.append(stream.get_data() if isinstance(stream, StreamObject) else b"")
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - the other streams are read all the same
            continue
    return _INLINE_IMAGE.sub(b" ", b"\n".join(written))


def form_values(reader: pypdf.PdfReader, pages: list[Any]) -> Iterator[str]:
    """What was filled into the fields of a form."""
    try:
        fields: list[Any] = list((reader.get_fields() or {}).values())
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - where the form is broken, its fields are found on the pages
        fields = [item for page in pages for item in annotations_of(page) if "/FT" in item]
    for item in fields[:MAX_FORM_FIELDS]:
        kind, value = item.get("/FT"), item.get("/V")
        if kind in ("/Tx", "/Ch") and isinstance(value, str) and value.strip():
            yield value
        if kind == "/Ch" and not int(item.get("/Ff", 0)) & _COMBO:
            yield from _options(item.get("/Opt"))


def _options(options: Any) -> Iterator[str]:
    """The lines of a list box, all of which are shown."""
    for option in list(options or ())[:MAX_FORM_FIELDS]:
        shown = option[-1] if isinstance(option, ArrayObject) and option else option
        if isinstance(shown, str):
            yield shown
