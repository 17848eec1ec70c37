"""Files that are uuencoded within a text, as mail programs wrote them before MIME.

Pure over bytes, one pass. A file is one only where every line of it is valid; else the text stays as it is.
"""

from __future__ import annotations

import binascii
import re

#: Bounded and without a choice: what a blank belongs to is decided after the match.
_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{0,254}[^\s])[ \t]{0,99}\r?$", re.MULTILINE)


def uuencoded_files(text: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The text without its files, and the name and the bytes of each file."""
    kept: list[bytes] = []
    files: list[tuple[bytes, bytes]] = []
    done = at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        data, at, complete = _file(text, begin.end() + 1)
        if complete:
            kept.append(text[done : begin.start()])
            files.append((begin[1], data))
            done = at
    kept.append(text[done:])
    return b"".join(kept) if files else text, files


def uuencoded_line(line: bytes) -> bytes:
    """The bytes of one line; some programs write more signs than the line has, and some leave out blanks.

    Raises:
        binascii.Error: when it is no such line.
    """
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        if not line:
            raise
        length = (((line[0] - 32) & 63) * 4 + 5) // 3
        return binascii.a2b_uu(line[:length])


def _file(text: bytes, at: int) -> tuple[bytes, int, bool]:
    """The bytes of a file, where the text goes on, and whether the file is whole."""
    pieces: list[bytes] = []
    while at < len(text):
        newline = text.find(b"\n", at)
        following = len(text) if newline < 0 else newline + 1
        line = text[at:following].rstrip(b"\r\n")
        if line.strip() == b"end":
            return b"".join(pieces), following, bool(pieces)
        if line.strip():  # some write the empty last line with a blank
            if not _is_plausible(line):
                return b"", at, False  # this line may begin another file
            try:
                pieces.append(uuencoded_line(line))
            except binascii.Error:
                return b"", at, False
        at = following
    return b"", at, False


def _is_plausible(line: bytes) -> bool:
    """Whether a line has about the length that its first sign says."""
    length = -(-((line[0] - 32) & 63) // 3) * 4 + 1
    return 32 <= line[0] <= 96 and len(line) <= length + 2  # noqa: PLR2004 - the signs of the encoding
