"""S/MIME as CMS wraps it: opaque signed data is opened, encrypted data is named, other bytes are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from docservice.ingest.extract.cms import Cms, CmsError, read_cms
from docservice.ingest.extract.limits import MAX_SIGNATURES, ProcessingError
from tests.docservice.ingest.extract.reading import mail, names, read

INNER = (
    b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\nabout MN-2026-000123\r\n"
    b"--q\r\nContent-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment\r\n\r\n1,2\r\n--q--\r\n"
)
SIGNED = "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"


@cache
def signer() -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1)
    made = made.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=9))
    return made.sign(key, hashes.SHA256()), key


def signed(content: bytes) -> bytes:
    """Opaque signed data, as DER."""
    certificate, key = signer()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(certificate, key, hashes.SHA256())
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def element(tag: int, content: bytes) -> bytes:
    """An element of open length, as programs write it that do not know the length beforehand."""
    return bytes([tag, 0x80]) + content + b"\0\0"


def signed_in_pieces(*pieces: bytes, kind: bytes = b"\x02") -> bytes:
    """The same as BER: every length open, and the content in pieces."""
    pkcs7_id = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
    octets = b"".join(b"\x04" + bytes([len(piece)]) + piece for piece in pieces)
    capsule = element(0x30, pkcs7_id + b"\x01" + element(0xA0, element(0x24, octets)))
    data = element(0x30, b"\x02\x01\x01" + b"\x31\x00" + capsule + b"\x31\x00")
    return element(0x30, pkcs7_id + kind + element(0xA0, data))


def test_the_content_of_signed_data_is_that_which_was_signed() -> None:
    assert read_cms(signed(INNER)) == Cms(signed=INNER)
    assert read_cms(signed_in_pieces(b"ab", b"", b"cd")) == Cms(signed=b"abcd")
    assert read_cms(signed_in_pieces()) == Cms(signed=b"")


def test_a_detached_signature_and_other_kinds_have_no_content() -> None:
    certificate, key = signer()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"x").add_signer(certificate, key, hashes.SHA256())
    assert read_cms(builder.sign(Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature])) == Cms()
    assert read_cms(signed_in_pieces(b"x", kind=b"\x05")) == Cms()


@pytest.mark.parametrize(
    "data", [b"", b"0", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"-----BEGIN", b"\x30\xff"]
)
def test_bytes_that_are_no_cms_are_refused(data: bytes) -> None:
    with pytest.raises(CmsError):
        read_cms(data)


@given(
    st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda cut: signed_in_pieces(b"abc")[: len(cut)] + cut)
)
def test_any_bytes_are_cms_or_refused(data: bytes) -> None:
    try:
        found = read_cms(data)
    except CmsError:
        return
    assert found.signed is None or len(found.signed) <= len(data)


def test_a_deep_nest_of_open_lengths_is_refused() -> None:
    with pytest.raises(CmsError, match="nested too deep"):
        read_cms(b"\x30\x80" * 100_000)


@pytest.mark.parametrize("wrap", [signed, signed_in_pieces])
def test_a_mail_that_is_signed_opaquely_is_read_as_if_it_were_not(wrap: object) -> None:
    content = INNER if wrap is signed else b"Content-Type: text/plain\r\n\r\nabout MN-2026-000123"
    found = read(mail(SIGNED, wrap(content)))  # type: ignore[operator]
    assert (found.mail_number, found.text, found.findings) == (
        "MN-2026-000123",
        "about MN-2026-000123",
        (),
    )
    assert names(found) == (["smime.p7m", "a.csv"] if wrap is signed else ["smime.p7m"])
    assert found.attachments[0].content.content_type == "application/pkcs7-mime"


def test_a_signature_within_a_signature_is_opened_and_their_number_is_bounded() -> None:
    body = signed(f"{SIGNED}\n\n".encode() + signed(b"Content-Type: text/plain\n\ntwice"))
    assert read(mail(SIGNED, body)).text == "twice"
    for _ in range(MAX_SIGNATURES):
        body = signed(f"{SIGNED}\n\n".encode() + body)
    with pytest.raises(ProcessingError, match="more than 20 S/MIME signatures"):
        read(mail(SIGNED, body))


def test_an_encrypted_mail_is_named_so() -> None:
    certificate, _ = signer()
    encrypted = pkcs7.PKCS7EnvelopeBuilder().set_data(INNER).add_recipient(certificate)
    body = encrypted.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    found = read(mail(SIGNED.replace("signed-data", "enveloped-data"), body))
    assert (found.text, names(found), found.findings) == (
        "",
        ["smime.p7m"],
        ("the mail is encrypted (S/MIME): without the key of a recipient its text cannot be read",),
    )


def test_a_mail_with_a_text_encrypted_by_openpgp_is_named_so() -> None:
    body = b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n"
    assert read(mail("", body)).findings == (
        "the mail is encrypted (OpenPGP): without the key of a recipient its text cannot be read",
    )


def test_an_s_mime_part_that_ends_early_costs_that_part_alone() -> None:
    found = read(mail(SIGNED, signed(INNER)[:300]))
    assert (names(found), found.findings) == (
        ["smime.p7m"],
        ("the S/MIME part cannot be opened: it ends early",),
    )
