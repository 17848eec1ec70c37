"""The people of a mail: the values of ``From``, ``To`` and ``Cc`` as readable lists.

Pure and total: whatever the bytes are, there is an answer and no exception. Where a value breaks RFC 5322,
the address is what is between angle brackets or has an ``@``, and the name is the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from docservice.ingest.extract.limits import MAX_ADDRESSES, MAX_HEADER_VALUE_BYTES
from docservice.ingest.extract.mail_headers import ENCODED_WORD, text

_ENCODED_WORD = re.compile(ENCODED_WORD.pattern.decode("ascii"))
_PLAIN = re.compile(r'[^"(),:;<>\[\\=\s]+')


@dataclass(slots=True)
class _Mailbox:
    """One address while it is read; the texts hold bytes as Latin-1."""

    phrase: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    address: str = ""
    #: How much of the phrase precedes the address.
    named: int = 0
    #: Whether an ``@`` is in the phrase: looked for once in each piece.
    has_at: bool = False

    def add(self, piece: str) -> None:
        """Let the phrase go on."""
        self.phrase.append(piece)
        self.has_at = self.has_at or "@" in piece

    def shown(self, also: str | None) -> str:
        def read(raw: str) -> str:
            return text(raw.encode("latin-1"), also=also)

        phrase, address = read("".join(self.phrase)), read(self.address)
        if "@" in address and '"' not in address:
            address = address.rpartition(":")[2].replace(" ", "")
        if not address:
            local, _, _ = phrase.rpartition("@")
            if local and " " not in phrase:
                address, phrase = phrase, ""
            elif local and _looks_spaced(phrase):
                address, phrase = phrase if '"' in phrase else phrase.replace(" ", ""), ""
        name = phrase or read(" ".join(self.comments))
        if not name or name == address:
            return address
        if not address:
            return name
        if re.search(r'[,;<>"]', name):
            name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{name} <{address}>"


def _looks_spaced(phrase: str) -> bool:
    """An address with blanks around its signs, such as ``ann @ example.org``."""
    return re.fullmatch(r'(?:[^\s@]{1,64}|"[^"]{1,64}") ?@ ?[^\s@]{1,255}', phrase) is not None


def addresses(value: bytes, *, also: str | None = None) -> str:
    """The mailboxes of a value as ``Name <address>, address``; a comment is a name where none is."""
    raw = value[:MAX_HEADER_VALUE_BYTES].replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")
    boxes = [_Mailbox()]
    at = 0
    while at < len(raw):
        at = _read_token(raw, at, boxes)
    return ", ".join(shown for box in boxes if (shown := box.shown(also)))


def _read_token(raw: str, at: int, boxes: list[_Mailbox]) -> int:
    """Read what begins at ``at`` into the last of the boxes; return where the next token begins."""
    box, sign = boxes[-1], raw[at]
    atom = _ENCODED_WORD.match(raw, at) if sign == "=" else _PLAIN.match(raw, at)
    if atom is not None:
        box.add(atom[0])
        return atom.end()
    match sign:
        case '"':
            return _read_quoted(raw, at, box)
        case "(":
            return _read_comment(raw, at, box)
        case "<":
            return _read_angle(raw, at, boxes)
        case "," | ";":
            return _read_separator(raw, at, boxes)
        case ":" if not box.has_at:
            box.phrase.clear()  # the name of a group
        case _:
            box.add(sign)
    return at + 1


def _read_angle(raw: str, at: int, boxes: list[_Mailbox]) -> int:
    end = raw.find(">", at)
    end = len(raw) if end < 0 else end
    box = boxes[-1]
    if box.address:  # a comma is missing
        boxes.append(_Mailbox())
        for piece in box.phrase[box.named :]:
            boxes[-1].add(piece)
        del box.phrase[box.named :]
        box = boxes[-1]
    box.address, box.named = raw[at + 1 : end].strip(), len(box.phrase)
    return len(raw) if len(boxes) > MAX_ADDRESSES else end + 1


def _read_separator(raw: str, at: int, boxes: list[_Mailbox]) -> int:
    box = boxes[-1]
    if box.phrase or box.address or box.comments:
        boxes.append(_Mailbox())
    return len(raw) if len(boxes) > MAX_ADDRESSES else at + 1


def _read_quoted(raw: str, at: int, box: _Mailbox) -> int:
    end = at + 1
    written: list[str] = []
    while end < len(raw) and raw[end] != '"':
        if raw[end] == "\\" and end + 1 < len(raw):
            end += 1
        written.append(raw[end])
        end += 1
    if end >= len(raw) and raw.find('"', at + 1) < 0:
        return at + 1  # never closed: the sign means nothing
    quoted = raw[at : end + 1] if raw.startswith("@", end + 1) else "".join(written)
    box.add(quoted)
    return end + 1


def _read_comment(raw: str, at: int, box: _Mailbox) -> int:
    last = raw.rfind(")", at)
    if last < 0:
        return at + 1  # never closed: the sign means nothing
    depth, end = 1, at + 1
    written: list[str] = []
    while end <= last and depth:
        sign = raw[end]
        depth += (sign == "(") - (sign == ")")
        if sign == "\\" and end < last:
            end += 1
            sign = raw[end]
        if depth:
            written.append(sign)
        end += 1
    box.comments.append("".join(written))
    box.add(" ")
    return end
