"""What a file is, by its first bytes: never by its name or by what its sender says.

Pure. ``SNIFFED_BYTES`` is how much of a file is enough.
"""

from __future__ import annotations

import re

from docservice.domain.documents import DocumentType
from docservice.domain.extraction import Content
from docservice.ingest.extract.mime import header_and_body, start_of_mail

#: Traces of delivery and of spam filters may come before the fields by which a mail is known.
SNIFFED_BYTES = 64 * 1024
#: Names of the parts of an office document are looked for in so much of an archive.
_PARTS_WITHIN_BYTES = 4096
#: A PDF may have something in front, such as a blank line or the header of a transfer.
_PDF_WITHIN_BYTES = 1024

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
#: The start of CMS, in which S/MIME wraps a mail, with anything in it.
_CMS = re.compile(rb"\x30(?:\x80|[\x81-\x84]?.{1,4})\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07", re.DOTALL)
_OFFICE_PARTS = (b"[Content_Types].xml", b"word/", b"xl/", b"ppt/", b"mimetypeapplication/vnd.oasis")
#: Fields that mails and their parts have; two of them make a mail.
_MAIL_FIELD = re.compile(
    r"received|from|to|cc|bcc|subject|date|message-id|mime-version|return-path|reply-to|sender|references"
    r"|in-reply-to|delivered-to|envelope-to|dkim-signature|domainkey-signature|authentication-results"
    r"|content-(?:type|transfer-encoding|disposition|description|id|language)|(?:x|arc|list|resent)-.+"
)
_SURELY_MAIL = 3
_FIELD_LINE = re.compile(rb"[!-9;-~]+[ \t]*:")
#: One of these fields with such a value makes a mail alone.
_CERTAIN_FIELDS = {
    "received": re.compile(rb"\s*(?:from|by|\(|.*;)", re.DOTALL),
    "from": re.compile(rb"[^\n]*\S@\S"),
    "to": re.compile(rb"[^\n]*\S@\S"),
    "return-path": re.compile(rb"\s*<"),
    "message-id": re.compile(rb"\s*<[^>\s]+>"),
    "mime-version": re.compile(rb"\s*1\.0"),
    "content-type": re.compile(rb"\s*multipart/", re.IGNORECASE),
}
_MEDIA_TYPE = re.compile(
    rb"\s*(?:text|multipart|message|application|image|audio|video)/[\w.+-]+\s*(?:;|\Z)", re.IGNORECASE
)
#: Looked for one after the other: as one pattern, each start would be tried to the end.
_PDF_START = re.compile(rb"%PDF-\d\.\d")
_PDF_OBJECT = re.compile(rb"\d\s+obj\b")


def sniff(head: bytes) -> Content:
    """What a file is, from its first ``SNIFFED_BYTES``."""
    head = head[:SNIFFED_BYTES]
    found = _by_signature(head)
    if found is not None:
        return found
    if _is_mail(head):
        return Content(document_type=DocumentType.EMAIL, content_type="message/rfc822")
    if _is_pdf(head):
        return Content(document_type=DocumentType.PDF, content_type="application/pdf")
    if _is_text(head):
        return Content(document_type=DocumentType.TEXT, content_type="text/plain")
    return Content(document_type=DocumentType.OTHER, content_type="application/octet-stream")


def _by_signature(head: bytes) -> Content | None:
    for signature, document_type, content_type in _SIGNATURES:
        if head.startswith(signature):
            if document_type is DocumentType.ARCHIVE and _has_office_parts(head):
                return Content(document_type=DocumentType.OFFICE, content_type="application/zip")
            return Content(document_type=document_type, content_type=content_type)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Content(document_type=DocumentType.IMAGE, content_type="image/webp")
    if _CMS.match(head):
        return Content(document_type=DocumentType.OTHER, content_type="application/pkcs7-mime")
    return None


def _has_office_parts(head: bytes) -> bool:
    return any(part in head[:_PARTS_WITHIN_BYTES] for part in _OFFICE_PARTS)


def _is_mail(head: bytes) -> bool:
    head = start_of_mail(head)
    header, body = header_and_body(head)
    fields = header.fields
    known = [name for name, _ in fields if _MAIL_FIELD.fullmatch(name)]
    if b"\x00" in head[:body]:  # a mail that was damaged, or a binary file that holds one
        return len(known) >= _SURELY_MAIL and _FIELD_LINE.match(head) is not None
    if _FIELD_LINE.match(head) and (
        len(known) >= 2 or _MEDIA_TYPE.match(header.first("content-type"))  # noqa: PLR2004 - one may be chance
    ):
        return True
    certain = ((_CERTAIN_FIELDS[name], value) for name, value in fields if name in _CERTAIN_FIELDS)
    return any(pattern.match(value) for pattern, value in certain)


def _is_pdf(head: bytes) -> bool:
    at = head.find(b"%PDF-")
    if not 0 <= at <= _PDF_WITHIN_BYTES:
        return False
    return not head[:at].strip() or not _is_text(head) or _has_pdf_object(head, at)


def _has_pdf_object(head: bytes, at: int) -> bool:
    start = _PDF_START.search(head, at)
    return start is not None and _PDF_OBJECT.search(head, start.end()) is not None


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as fault:
        return fault.start > len(head) - 4 and len(head) == SNIFFED_BYTES  # cut within a character
    return True
