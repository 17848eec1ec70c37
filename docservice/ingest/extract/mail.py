"""A mail: its number, title, people, date, text and attachments.

Pure over bytes. ``mime`` gives the structure, ``mail_headers`` and ``addresses`` the values of fields. This
module decides what is text, what is an attachment, and which of several sources counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docservice.domain import mail_number
from docservice.domain.documents import DEEPEST, file_name, storable
from docservice.domain.extraction import Attachment, Extraction
from docservice.ingest.extract import mail_headers, mime
from docservice.ingest.extract.addresses import addresses
from docservice.ingest.extract.charset import decode
from docservice.ingest.extract.cms import CmsError, read_cms
from docservice.ingest.extract.flowed import is_flowed, unflowed
from docservice.ingest.extract.html_text import html_text, meta_charset
from docservice.ingest.extract.limits import (
    MAX_ADDRESSES_CHARACTERS,
    MAX_FINDINGS,
    MAX_MESSAGE_ID_CHARACTERS,
    MAX_SIGNATURES,
    MAX_TITLE_CHARACTERS,
    READ_CHARACTERS,
    ProcessingError,
    Rules,
    kept_text,
)
from docservice.ingest.extract.mail_dates import date
from docservice.ingest.extract.sniff import sniff
from docservice.ingest.extract.tnef import SIGNATURE, read_tnef
from docservice.ingest.extract.uuencode import uuencoded_files

if TYPE_CHECKING:
    from docservice.ingest.extract.mime import Header, Part

_HTML = "text/html"
#: What a person reads as the mail's own words: texts, and what reports of delivery say.
_TEXT_TYPES = {
    *("text/plain", _HTML, "text/rfc822-headers", "message/delivery-status"),
    *("message/disposition-notification", "message/feedback-report"),
}
_CMS_TYPES = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_ENCRYPTED = "the mail is encrypted (S/MIME): without the key of a recipient its text cannot be read"
_PGP_ENCRYPTED = "the mail is encrypted (OpenPGP): without the key of a recipient its text cannot be read"
_PGP_MESSAGE = b"-----BEGIN PGP MESSAGE-----"
_TNEF_TYPES = ("application/ms-tnef", "application/vnd.ms-tnef")


def read_mail(data: bytes, rules: Rules, depth: int) -> Extraction:
    """All that one mail holds; the mails within it are attachments. ``depth`` counts the enclosing mails.

    Raises:
        ProcessingError: when it is no mail, or holds more than the rules allow.
    """
    data = mime.start_of_mail(data)
    header, _ = mime.header_and_body(data)
    if not header.fields:
        raise ProcessingError("the file is not a mail: it has no header")
    found = _Contents(rules=rules, depth=depth)
    for part in mime.parts(data):
        found.add(part)
    also = found.charset
    subject = mail_headers.text(header.first("subject"), also=also)
    text, cut = kept_text(found.text())
    sent_at, guesses = date(header.first("date"))
    return Extraction(
        mail_number=_mail_number(header, subject, text, rules, also),
        title=subject[:MAX_TITLE_CHARACTERS] or None,
        sender=_people(header, "from", also, MAX_TITLE_CHARACTERS)
        or _people(header, "sender", also, MAX_TITLE_CHARACTERS),
        to_addresses=_people(header, "to", also, MAX_ADDRESSES_CHARACTERS),
        cc_addresses=_people(header, "cc", also, MAX_ADDRESSES_CHARACTERS),
        message_id=mail_headers.text(header.first("message-id"))[:MAX_MESSAGE_ID_CHARACTERS] or None,
        sent_at=sent_at,
        text=text,
        attachments=tuple(found.attachments),
        findings=(*guesses, *cut, *found.findings)[:MAX_FINDINGS],
    )


@dataclass(slots=True, kw_only=True)
class _Contents:
    """The texts and attachments of a mail, in order, while its parts are read."""

    rules: Rules
    depth: int
    charset: str | None = None
    texts: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    attached_bytes: int = 0
    signatures: int = 0

    def add(self, part: Part) -> None:
        """Take one part as text or as an attachment."""
        kind = part.content_type
        disposition, options = mail_headers.disposition(
            part.header.first("content-disposition"), also=self.charset
        )
        typed = mail_headers.content_type(part.header.first("content-type"), also=self.charset)
        name = options.get("filename") or typed.parameters.get("name", "")
        if kind.is_multipart:
            self.findings.append("the boundary of its parts is missing; it was read as one text")
            self.texts.append(self._read(part))
            return
        if kind.full == "application/pgp-encrypted":
            self._find(_PGP_ENCRYPTED)
        shown = kind.full in _TEXT_TYPES and disposition != "attachment"
        if shown:
            self.texts.append(self._read(part))
        if name or not shown:  # a text with a name is read in the mail, and is a file as well
            self._attach(part, name)

    def text(self) -> str:
        """The texts one after the other, each once."""
        kept: list[str] = []
        words: set[int] = set()
        for text in self.texts:
            key = hash(" ".join(text.split()))
            if text.strip() and key not in words:
                words.add(key)
                kept.append(text)
        return storable("\n\n".join(kept).replace("\r\n", "\n"))

    def _read(self, part: Part) -> str:
        body = part.text_body()
        label = part.content_type.parameters.get("charset")
        self.charset = self.charset or label
        if part.content_type.full != _HTML:
            body = self._without_files(body)
            read = decode(body[: 4 * READ_CHARACTERS], label, also=self.charset)[:READ_CHARACTERS]
            return unflowed(read, part.content_type) if is_flowed(part.content_type) else read
        return html_text(decode(body, label or meta_charset(body), also=self.charset))

    def _attach(self, part: Part, name: str) -> None:
        body = part.body()
        if part.content_type.full in ("message/rfc822", "message/global", "message/news"):
            name = name or "mail.eml"
        self._keep(body, name)
        if part.content_type.full in _TNEF_TYPES or body.startswith(SIGNATURE):
            self._unwrap(body)
        elif part.content_type.full in _CMS_TYPES or name.lower().endswith(".p7m"):
            self._open_signed(body)

    def _keep(self, body: bytes, name: str) -> None:
        self.attached_bytes += len(body)
        position = len(self.attachments)
        if position >= self.rules.max_attachments:
            raise ProcessingError(f"the mail has more than {self.rules.max_attachments} attachments")
        if self.attached_bytes > self.rules.max_bytes:
            raise ProcessingError(f"the mail's attachments have more than {self.rules.max_bytes} bytes")
        if self.depth >= DEEPEST:
            raise ProcessingError(f"mails are nested more than {DEEPEST} deep")
        self.attachments.append(
            Attachment(
                part=position,
                file_name=file_name(name, otherwise=f"attachment-{position + 1}"),
                content=sniff(body),
                data=body,
                sha256=hashlib.sha256(body).hexdigest(),
            )
        )

    def _without_files(self, text: bytes) -> bytes:
        """The text without what is uuencoded in it, which is attached."""
        if _PGP_MESSAGE in text:
            self._find(_PGP_ENCRYPTED)
        rest, files = uuencoded_files(text)
        for name, data in files:
            self._keep(data, mail_headers.text(name, also=self.charset))
        return rest

    def _find(self, finding: str) -> None:
        if finding not in self.findings:
            self.findings.append(finding)

    def _open_signed(self, body: bytes) -> None:
        """Take what an opaque S/MIME signature wraps as parts of this mail; the signed file itself stays."""
        try:
            found = read_cms(body)
        except CmsError as fault:
            self._find(f"the S/MIME part cannot be opened: {fault}")
            return
        if found.encrypted:
            self._find(_ENCRYPTED)
        if found.signed is None:
            return
        self.signatures += 1
        if self.signatures > MAX_SIGNATURES:
            raise ProcessingError(f"the mail has more than {MAX_SIGNATURES} S/MIME signatures")
        for part in mime.parts(found.signed):
            self.add(part)

    def _unwrap(self, body: bytes) -> None:
        """Take what Outlook wrapped into ``winmail.dat`` as if it were attached; the file itself stays."""
        inner = read_tnef(body)
        if inner.damage:
            self.findings.append(f"winmail.dat is damaged: {inner.damage}")
        if inner.text or inner.html:
            self.texts.append(inner.text or html_text(decode(inner.html, meta_charset(inner.html))))
        for attachment in inner.attachments:
            self._keep(attachment.data, attachment.name)


def _people(header: Header, name: str, also: str | None, max_characters: int) -> str | None:
    found = (addresses(value, also=also) for value in header.all(name)[:10])
    return ", ".join(filter(None, found))[:max_characters] or None


def _mail_number(header: Header, subject: str, text: str, rules: Rules, also: str | None) -> str | None:
    """From the header of the settings, where it holds a number, else from the subject, else from the text."""
    for value in header.all(rules.mail_number_header)[:10]:
        written = mail_headers.text(value, also=also)
        try:
            if written:
                return mail_number.normalise(written)
        except mail_number.MailNumberError:
            continue  # the header is no number; the mail is read all the same
    return rules.mail_number_pattern.find(subject) or rules.mail_number_pattern.find(text)
