"""The entry point: a document's bytes to what is in them, by its type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docservice.domain.documents import DocumentType, storable
from docservice.domain.extraction import Extraction
from docservice.ingest.extract.charset import decode
from docservice.ingest.extract.limits import READ_CHARACTERS, ProcessingError, kept_text
from docservice.ingest.extract.mail import read_mail
from docservice.ingest.extract.pdf import read_pdf

if TYPE_CHECKING:
    from collections.abc import Callable

    from docservice.ingest.extract.limits import Rules


def process(
    data: bytes,
    document_type: DocumentType,
    rules: Rules,
    *,
    depth: int = 0,
    in_time: Callable[[], bool] = lambda: True,
) -> Extraction:
    """What is in a document of this type. ``depth`` is the number of mails that enclose it.

    ``in_time`` is asked before each page of a PDF; from the first False on, the rest is left out and named.

    Raises:
        ProcessingError: when it cannot be read, or holds more than the rules allow.
        Killed: when what read it was killed from outside; another time it may be read.
    """
    try:
        match document_type:
            case DocumentType.EMAIL:
                return read_mail(data, rules, depth)
            case DocumentType.PDF:
                return read_pdf(data, in_time)
            case DocumentType.TEXT:
                text, cut = kept_text(storable(decode(data[: 4 * READ_CHARACTERS])))
                return Extraction(text=text, findings=cut)
            case _:
                return Extraction()
    except RecursionError as fault:
        raise ProcessingError("its parts are nested too deep") from fault
    except MemoryError as fault:
        raise ProcessingError("reading it needs more memory than a document may use") from fault
