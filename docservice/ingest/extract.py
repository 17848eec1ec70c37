"""What an upload holds: a mail with its attachments, the text of a PDF, a text.

The law of this module: pure over bytes. Whatever the bytes are, the answer is an :class:`Extraction` or a
:class:`ProcessingError` whose message a person can read; sizes, counts and depths are bounded, so that a file
made to hurt costs no more than a large one.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
import re
from dataclasses import dataclass
from email.message import EmailMessage, Message
from typing import TYPE_CHECKING

import pypdf
from pypdf.errors import PyPdfError

from docservice.domain import mail_number
from docservice.domain.documents import DEEPEST, DocumentType, file_name, storable
from docservice.domain.extraction import Attachment, Content, Extraction

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_TEXT_CHARACTERS = 1_000_000
MOST_TITLE_CHARACTERS = 500
MOST_PDF_PAGES = 2_000
MOST_PARTS = 10_000
MOST_PART_DEPTH = 50
_SNIFFED_BYTES = 4096

_SIGNATURES: tuple[tuple[bytes, DocumentType, str], ...] = (
    (b"%PDF-", DocumentType.PDF, "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", DocumentType.IMAGE, "image/png"),
    (b"\xff\xd8\xff", DocumentType.IMAGE, "image/jpeg"),
    (b"GIF87a", DocumentType.IMAGE, "image/gif"),
    (b"GIF89a", DocumentType.IMAGE, "image/gif"),
    (b"II*\x00", DocumentType.IMAGE, "image/tiff"),
    (b"MM\x00*", DocumentType.IMAGE, "image/tiff"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", DocumentType.OFFICE, "application/x-ole-storage"),
    (b"PK\x03\x04", DocumentType.ARCHIVE, "application/zip"),
    (b"PK\x05\x06", DocumentType.ARCHIVE, "application/zip"),
    (b"\x1f\x8b", DocumentType.ARCHIVE, "application/gzip"),
    (b"BZh", DocumentType.ARCHIVE, "application/x-bzip2"),
    (b"\xfd7zXZ\x00", DocumentType.ARCHIVE, "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", DocumentType.ARCHIVE, "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", DocumentType.ARCHIVE, "application/vnd.rar"),
)
_OFFICE_PARTS = (b"[Content_Types].xml", b"word/", b"xl/", b"ppt/", b"mimetypeapplication/vnd.oasis")
_HEADER_LINE = re.compile(rb"(?:[!-9;-~]+:[^\n]*\r?\n(?:[ \t][^\n]*\r?\n)*)+")
_MAIL_HEADER = re.compile(
    rb"^(?:received|from|to|subject|date|message-id|mime-version|return-path|delivered-to|x-[!-9;-~]+):",
    re.IGNORECASE | re.MULTILINE,
)


class ProcessingError(ValueError):
    """This document can never be processed; the message tells its owner why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How mails are read. ``most_attachments`` and ``most_bytes`` bound what one mail may bring."""

    mail_number_header: str
    mail_number_pattern: re.Pattern[str]
    most_attachments: int
    most_bytes: int


def sniff(head: bytes) -> Content:
    """What a file is, from its first 4 kB: never from its name or from what its sender says."""
    head = head[:_SNIFFED_BYTES]
    for signature, document_type, content_type in _SIGNATURES:
        if head.startswith(signature):
            if document_type is DocumentType.ARCHIVE and any(part in head for part in _OFFICE_PARTS):
                return Content(document_type=DocumentType.OFFICE, content_type="application/zip")
            return Content(document_type=document_type, content_type=content_type)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Content(document_type=DocumentType.IMAGE, content_type="image/webp")
    if _is_mail(head):
        return Content(document_type=DocumentType.EMAIL, content_type="message/rfc822")
    if _is_text(head):
        return Content(document_type=DocumentType.TEXT, content_type="text/plain")
    return Content(document_type=DocumentType.OTHER, content_type="application/octet-stream")


def _is_mail(head: bytes) -> bool:
    if head.startswith(b"From "):  # the line that mailboxes put before a mail
        head = head.partition(b"\n")[2]
    headers = _HEADER_LINE.match(head + b"\n")
    return headers is not None and len(_MAIL_HEADER.findall(headers[0])) >= 2  # noqa: PLR2004 - one may be chance


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as fault:
        return fault.start > len(head) - 4 and len(head) == _SNIFFED_BYTES  # cut within a character
    return True


def process(data: bytes, document_type: DocumentType, rules: Rules, *, depth: int = 0) -> Extraction:
    """What is in a document of this type. ``depth`` is the number of mails that it lay in.

    Raises:
        ProcessingError: when it cannot be read, or holds more than the rules allow.
    """
    try:
        match document_type:
            case DocumentType.EMAIL:
                return _mail(data, rules, depth)
            case DocumentType.PDF:
                return _pdf(data)
            case DocumentType.TEXT:
                return Extraction(text=_kept(data.decode("utf-8", "replace")))
            case _:
                return Extraction()
    except RecursionError as fault:
        raise ProcessingError("its parts lie too deep within each other") from fault
    except MemoryError as fault:
        raise ProcessingError("reading it needs more memory than a document may use") from fault


def _kept(text: str) -> str:
    return storable(text[:MOST_TEXT_CHARACTERS])


# Mails


def _mail(data: bytes, rules: Rules, depth: int) -> Extraction:
    message = _parsed(data)
    subject = _header(message, "Subject")
    found: list[Attachment] = []
    texts: list[str] = []
    taken = 0
    for part in _leaves(message):
        if _is_body(part):
            texts.append(_body(part))
            continue
        body, name = _attached(part)
        taken += len(body)
        if len(found) >= rules.most_attachments:
            raise ProcessingError(f"the mail has more than {rules.most_attachments} attachments")
        if taken > rules.most_bytes:
            raise ProcessingError(f"the mail's attachments have more than {rules.most_bytes} bytes")
        if depth >= DEEPEST:
            raise ProcessingError(f"mails lie within mails more than {DEEPEST} deep")
        found.append(
            Attachment(
                part=len(found),
                file_name=file_name(name, otherwise=f"attachment-{len(found) + 1}"),
                content=sniff(body),
                data=body,
                sha256=hashlib.sha256(body).hexdigest(),
            )
        )
    return Extraction(
        mail_number=_mail_number(message, subject, rules),
        title=subject[:MOST_TITLE_CHARACTERS] or None,
        sender=_header(message, "From")[:MOST_TITLE_CHARACTERS] or None,
        text=_kept("\n\n".join(text for text in texts if text)),
        attachments=tuple(found),
    )


def _parsed(data: bytes) -> EmailMessage:
    try:
        # The parser's own recursion bounds how deep parts lie; what it cannot read it keeps as a text.
        message = email.message_from_bytes(data, policy=email.policy.default)
    except (RecursionError, MemoryError):
        raise
    except Exception as fault:
        raise ProcessingError(f"it is no readable mail ({type(fault).__name__})") from fault
    if not message.keys():
        raise ProcessingError("it is no mail: it has no headers")
    return message


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold something, in order. A mail within the mail is one part."""
    waiting: list[tuple[Message, int]] = [(message, 0)]
    seen = 0
    while waiting:
        part, depth = waiting.pop()
        seen += 1
        if seen > MOST_PARTS:
            raise ProcessingError(f"the mail has more than {MOST_PARTS} parts")
        if depth > MOST_PART_DEPTH:
            raise ProcessingError(f"the mail's parts lie more than {MOST_PART_DEPTH} deep within each other")
        inner = part.get_payload()
        if isinstance(inner, list) and part.get_content_maintype() == "multipart":
            waiting.extend((child, depth + 1) for child in reversed(inner) if isinstance(child, Message))
        else:
            yield part


def _is_body(part: Message) -> bool:
    if part.get_content_type() not in ("text/plain", "text/html"):
        return False
    return _safely(part.get_content_disposition) != "attachment" and not _safely(part.get_filename)


def _safely(read: object) -> str:
    """What a header's reader says, or nothing: a header can be broken in ways that make its parser fail."""
    try:
        value = read()  # type: ignore[operator]
    except (RecursionError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - the standard library's parser raises many kinds
        return ""
    return value if isinstance(value, str) else ""


def _header(message: Message, name: str) -> str:
    text = _safely(lambda: str(message.get(name, "")))
    return " ".join(storable(text).split())


def _payload(part: Message) -> bytes:
    try:
        body = part.get_payload(decode=True)
    except (RecursionError, MemoryError):
        raise
    except Exception as fault:
        raise ProcessingError(
            f"one of the mail's parts cannot be decoded ({type(fault).__name__})"
        ) from fault
    return body if isinstance(body, bytes) else b""


def _attached(part: Message) -> tuple[bytes, str]:
    name = _safely(part.get_filename)
    inner = part.get_payload()
    if isinstance(inner, list):  # message/rfc822, or another that holds messages
        mails = [child for child in inner if isinstance(child, Message)]
        try:
            data = b"".join(child.as_bytes(policy=email.policy.compat32) for child in mails)
        except RecursionError:
            raise
        except Exception as fault:
            raise ProcessingError(f"a mail within the mail is broken ({type(fault).__name__})") from fault
        return data, name or "mail.eml"
    return _payload(part), name


def _body(part: Message) -> str:
    text = _payload(part)
    charset = _safely(part.get_content_charset) or "utf-8"
    try:
        written = text.decode(charset, "replace")
    except (LookupError, ValueError):
        written = text.decode("utf-8", "replace")
    if part.get_content_type() == "text/html":
        written = re.sub(r"<[^<>]{0,10000}>", " ", written[:MOST_TEXT_CHARACTERS])
    return written[:MOST_TEXT_CHARACTERS]


def _mail_number(message: Message, subject: str, rules: Rules) -> str | None:
    written = _header(message, rules.mail_number_header)
    if not written:
        found = rules.mail_number_pattern.search(subject[:MOST_TITLE_CHARACTERS])
        written = found[0] if found else ""
    try:
        return mail_number.normalise(written) if written else None
    except mail_number.MailNumberError as fault:
        raise ProcessingError(f"the header {rules.mail_number_header} is wrong: {fault}") from fault


# PDFs


def _pdf(data: bytes) -> Extraction:
    try:
        return _pdf_text(pypdf.PdfReader(io.BytesIO(data)))
    except (ProcessingError, RecursionError, MemoryError):
        raise
    except PyPdfError as fault:
        raise ProcessingError(f"the PDF is broken: {str(fault)[:200] or type(fault).__name__}") from fault
    except Exception as fault:
        # pypdf meets broken files with KeyError, AttributeError, ValueError and more.
        raise ProcessingError(f"the PDF is broken ({type(fault).__name__})") from fault


def _pdf_text(reader: pypdf.PdfReader) -> Extraction:
    if reader.is_encrypted and not reader.decrypt(""):
        raise ProcessingError("the PDF is protected by a password; send one without")
    pages = len(reader.pages)
    if pages > MOST_PDF_PAGES:
        raise ProcessingError(f"the PDF has {pages} pages; at most {MOST_PDF_PAGES} are read")
    texts: list[str] = []
    room = MOST_TEXT_CHARACTERS
    for page in reader.pages:
        if room <= 0:
            break
        texts.append(page.extract_text()[:room])
        room -= len(texts[-1])
    return Extraction(text=_kept("\n".join(texts)), pages=pages)
