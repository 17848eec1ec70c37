"""The structure of a mail: its parts, each with its header fields and the bytes of its body.

Pure over bytes, one pass, no recursion: a part is a slice of the whole mail. Where real mails break RFC 5322
and RFC 2046, the reading is the one that common mail programs share: lines that are no header fields are
skipped as long as a known field follows, a part ends at a boundary of any enclosing part, a
multipart without its boundary is one text.
"""

from __future__ import annotations

import binascii
import codecs
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docservice.ingest.extract.limits import MAX_HEADERS, MAX_PART_DEPTH, MAX_PARTS, ProcessingError
from docservice.ingest.extract.mail_headers import ContentType, content_type
from docservice.ingest.extract.uuencode import uuencoded_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELD = re.compile(rb"([!-9;-~]{1,100})[ \t]*:(.*)", re.DOTALL)
#: The colon of an old form of field may be on the line after the name.
_FIELD_ON_TWO_LINES = re.compile(rb"([!-9;-~]{1,100})[ \t]*\r?\n[ \t]+:([^\n]*)(?:\n|\Z)")
_KNOWN_FIELD = re.compile(
    rb"(?:received|from|to|cc|bcc|subject|date|message-id|mime-version|return-path|reply-to|sender|references"
    rb"|in-reply-to|delivered-to|dkim-signature|(?:content|x|arc|list|resent|authentication)-[!-9;-~]+)"
    rb"[ \t]*:",
    re.IGNORECASE,
)
_MAILBOX_LINE = re.compile(rb">?From (?![ \t]*:)[^\r\n]*(?:\r?\n|$)")
_BLANK_LINES = re.compile(rb"(?:[ \t]*\r?\n)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header fields of a part, in order: lower-case name, and the value's bytes with its line breaks."""

    fields: tuple[tuple[str, bytes], ...]

    def first(self, name: str) -> bytes:
        """The value of the first field of that name; empty when there is none."""
        return next((value for key, value in self.fields if key == name.lower()), b"")

    def all(self, name: str) -> list[bytes]:
        """The values of every field of that name."""
        return [value for key, value in self.fields if key == name.lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part that holds something; a multipart is one only where its boundary never came.

    ``encoded`` is the body before its transfer encoding is undone.
    """

    header: Header
    content_type: ContentType
    encoded: bytes

    def body(self) -> bytes:
        """The bytes of the body, its transfer encoding undone; what is no valid encoding is left out."""
        encoding = self.header.first("content-transfer-encoding").strip().lower()
        return self.encoded if self.content_type.is_multipart else decoded(self.encoded, encoding)

    def text_body(self) -> bytes:
        """The body of a text: unchanged where it is plainly not the base64 that its header claims."""
        written = self.encoded.translate(None, _LINE_ENDS)
        foreign = len(written) - len(written.translate(None, _NOT_BASE64))
        encoding = self.header.first("content-transfer-encoding").strip().lower()
        return self.encoded if encoding == b"base64" and foreign > len(written) / 20 else self.body()


def start_of_mail(data: bytes) -> bytes:
    """The mail without anything before its first header field, as UTF-8, with line ends that have a LF.

    In front may be a byte order mark, blank lines, and the lines that mailboxes put there.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    at = 0
    while True:
        blank = _BLANK_LINES.match(data, at)
        at = blank.end() if blank else at
        line = _MAILBOX_LINE.match(data, at)
        if line is None:
            return data[at:].lstrip(b" \t") if at or data[:1] in b" \t" else data
        at = line.end()


def header_and_body(data: bytes) -> tuple[Header, int]:
    """The header at the start of ``data``, and where the body begins."""
    return _header(data, 0, {})


def parts(data: bytes) -> Iterator[Part]:
    """The parts of a mail that hold something, in order. A mail within the mail is one part.

    Raises:
        ProcessingError: for more parts, or deeper ones, than the limits allow.
    """
    enclosing: list[tuple[bytes, str]] = []
    levels: dict[bytes, int] = {}
    at, seen = 0, 0
    while True:
        seen += 1
        if seen > MAX_PARTS:
            raise ProcessingError(f"the mail has more than {MAX_PARTS} parts")
        header, begin = _header(data, at, levels)
        default = enclosing[-1][1] if enclosing else "text/plain"
        kind = content_type(header.first("content-type"), default=default)
        delimited = kind.is_multipart and kind.boundary != b""
        if delimited:
            _enclose(enclosing, levels, kind)
        end, following, level, closing = _next_delimiter(data, begin, levels)
        if not delimited or level != len(enclosing) - 1:
            if delimited:  # its boundary never came
                levels = _leave(enclosing, len(enclosing) - 1)
            yield Part(header=header, content_type=kind, encoded=data[begin:end])
        while closing:
            levels = _leave(enclosing, level)
            _, following, level, closing = _next_delimiter(data, following, levels)
        if level < 0:
            return
        levels = _leave(enclosing, level + 1)
        at = following


def _enclose(enclosing: list[tuple[bytes, str]], levels: dict[bytes, int], kind: ContentType) -> None:
    if len(enclosing) >= MAX_PART_DEPTH:
        raise ProcessingError(f"the mail's parts are nested more than {MAX_PART_DEPTH} deep")
    line = b"--" + kind.boundary
    enclosing.append((line, "message/rfc822" if kind.full == "multipart/digest" else "text/plain"))
    levels[line] = len(enclosing) - 1


def _leave(enclosing: list[tuple[bytes, str]], level: int) -> dict[bytes, int]:
    del enclosing[level:]
    return {line: index for index, (line, _) in enumerate(enclosing)}


def _next_delimiter(data: bytes, at: int, levels: dict[bytes, int]) -> tuple[int, int, int, bool]:
    """The next boundary line of an enclosing part.

    Returns where the text before it ends, where the line after it begins, the index of its part among the
    enclosing ones, or -1 at the end of the mail, and whether it closes that part.
    """
    start = at if data.startswith(b"--", at) and (not at or data[at - 1 : at] == b"\n") else -1
    if start < 0:
        start = data.find(b"\n--", at) + 1 if levels else 0
    while start > 0 or (start == 0 and at == 0 and data.startswith(b"--") and levels):
        newline = data.find(b"\n", start)
        following = len(data) if newline < 0 else newline + 1
        line = data[start : min(following, start + 1000)].rstrip()
        level = levels.get(line, -1)
        closing = level < 0
        if closing:
            level = levels.get(line.removesuffix(b"--"), -1) if line.endswith(b"--") else -1
        if level >= 0:
            end = max(at, start - 1)
            if end > at and data[end - 1 : end] == b"\r":
                end -= 1
            return end, following, level, closing
        start = data.find(b"\n--", start) + 1
    return len(data), len(data), -1, False


def _header(data: bytes, at: int, levels: dict[bytes, int]) -> tuple[Header, int]:
    fields: list[tuple[str, list[bytes]]] = []
    while at < len(data):
        newline = data.find(b"\n", at)
        following = len(data) if newline < 0 else newline + 1
        line = data[at:following].rstrip(b"\r\n")
        if not line:
            return _joined(fields), following
        if line.startswith(b"--") and levels and _is_delimiter(line, levels):
            break
        if line[:1] in b" \t" and fields:
            if len(fields[-1][1]) < MAX_HEADERS:
                fields[-1][1].append(line)
        elif (field := _field(data, at, line, following)) is not None:
            name, value, following = field
            if len(fields) < MAX_HEADERS:
                fields.append((name, [value]))
        elif not _header_goes_on(data, following):
            break
        at = following
    return _joined(fields), at


def _field(data: bytes, at: int, line: bytes, following: int) -> tuple[str, bytes, int] | None:
    """Name and value of the field that ``line`` begins, and where the next line begins."""
    found = _FIELD.match(line)
    if found is None:
        found = _FIELD_ON_TWO_LINES.match(data, at)
        following = found.end() if found else following
    return None if found is None else (found[1].decode("ascii").lower(), found[2].rstrip(b"\r"), following)


def _is_delimiter(line: bytes, levels: dict[bytes, int]) -> bool:
    line = line.rstrip()
    return line in levels or line.removesuffix(b"--") in levels


def _header_goes_on(data: bytes, at: int) -> bool:
    """Whether a known field follows the broken line in front of ``at`` before the header ends.

    It looks at some lines only, so that a text without a header costs no more than they do.
    """
    for _ in range(20):
        newline = data.find(b"\n", at)
        line = data[at : newline if newline >= 0 else len(data)].rstrip(b"\r")
        if not line:
            return False
        if _KNOWN_FIELD.match(line):
            return True
        if newline < 0:
            return False
        at = newline + 1
    return False


def _joined(fields: list[tuple[str, list[bytes]]]) -> Header:
    return Header(fields=tuple((name, b"\n".join(lines)) for name, lines in fields))


_SOFT_BREAK = re.compile(rb"=[ \t]{1,100}(?=\r?\n)")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_LINE_ENDS = b"\r\n\t"
_NOT_BASE64 = bytes(sign for sign in range(256) if sign not in _BASE64)


def decoded(data: bytes, encoding: bytes) -> bytes:
    """``data`` with its transfer encoding undone; an unknown encoding is none."""
    match encoding.partition(b";")[0].strip(b" \t\"'"):
        case b"base64":
            return base64_bytes(data)
        case b"quoted-printable":
            return binascii.a2b_qp(_SOFT_BREAK.sub(b"=", data))
        case b"x-uuencode" | b"uuencode" | b"x-uue" | b"uue":
            return _uuencoded(data)
        case _:
            return data


def base64_bytes(data: bytes) -> bytes:
    """Decode base64 that has other characters in between or was joined from several pieces."""
    written = []
    for run in data.translate(None, _NOT_BASE64).split(b"="):
        whole = run[: len(run) - 1] if len(run) % 4 == 1 else run
        if whole:
            written.append(binascii.a2b_base64(whole + b"=" * (-len(whole) % 4)))
    return b"".join(written)


def _uuencoded(data: bytes) -> bytes:
    written = []
    for line in data.splitlines():
        if line.startswith(b"begin ") or not line.strip():
            continue
        if line.strip() == b"end":
            break
        with suppress(binascii.Error):
            written.append(uuencoded_line(line))
    return b"".join(written)
