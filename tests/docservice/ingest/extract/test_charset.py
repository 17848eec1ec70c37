"""Text is decoded as browsers do, and better where the label is wrong or missing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docservice.ingest.extract.charset import codec_name, decode


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        ("'utf-8'", "utf-8"),
        ("utf_8", "utf-8"),
        ("utf-8;format=flowed", "utf-8"),
        ("us-ascii", "cp1252"),
        ("ISO_8859-1", "cp1252"),
        ("gb2312", "gb18030"),
        ("x-gbk", "gb18030"),
        ("ks_c_5601-1987", "cp949"),
        ("x-sjis", "cp932"),
        ("tis-620", "cp874"),
        ("cp874", "cp874"),
        ("iso-8859-8-i", "iso8859_8"),
        ("cp850", "cp850"),
        ("unicode-1-1-utf-7", "utf_7"),
        ("utf-7", "utf_7"),
        ("iso-2022-kr", "iso2022_kr"),
        ("hz-gb-2312", "hz"),
        ("unknown-8bit", None),
        ("base64", None),
        ("punycode", None),
        ("unicode_escape", None),
        ("", None),
        (None, None),
    ],
)
def test_a_label_means_what_browsers_and_mails_mean_by_it(label: str | None, codec: str | None) -> None:
    assert codec_name(label) == codec


@pytest.mark.parametrize(
    ("data", "label", "text"),
    [
        (b"Gr\xfc\xdfe \x80", "iso-8859-1", "Grüße €"),
        (b"\x81", "windows-1252", "\x81"),
        ("Grüße".encode(), "us-ascii", "Grüße"),
        ("Grüße".encode(), "iso-8859-1", "Grüße"),
        ("Grüße".encode(), "euc-jp", "Grüße"),
        (("Grüße " * 9).encode() + b"\xc3", None, "Grüße " * 9 + "\ufffd"),
        (("Grüße " * 9).encode() + b"\xc3", "iso-8859-1", "Grüße " * 9 + "\ufffd"),
        (b"Gr\xfc\xdfe", "utf-8", "Grüße"),
        ("Grüße, Müller, Söhne \ufffd".encode()[:-1], "utf-8", "Grüße, Müller, Söhne \ufffd"),
        ("Grüße".encode("utf-16"), "utf-8", "Grüße"),
        ("\ufeffGrüße".encode(), None, "Grüße"),
        ("日本語".encode("iso2022_jp"), None, "日本語"),
        ("日本語".encode("iso2022_jp"), "us-ascii", "日本語"),
        (b"+AOk-t+AOk-", "utf-7", "été"),
    ],
)
def test_a_label_that_the_bytes_contradict_is_not_believed(data: bytes, label: str | None, text: str) -> None:
    assert decode(data, label) == text


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("Grüße", "cp1252"),
        ("Price € 100 \u2013 \u201cquoted\u201d", "cp1252"),
        ("Señor Muñoz, adjunto la factura del año pasado", "cp1252"),
        ("Привет, как дела? Отправляем вам документы по заказу", "cp1251"),
        ("Привет, как дела? Отправляем вам документы", "koi8-r"),
        ("日本語のメールです。よろしくお願いします。", "cp932"),
        ("日本語のメールです。よろしくお願いします。", "euc_jp"),
        ("您好请查收附件中的发票", "gb18030"),
        ("您好請查收附件中的發票", "big5"),
        ("Zażółć gęślą jaźń, proszę o fakturę", "cp1250"),
        ("안녕하세요 첨부 파일을 확인해 주세요", "cp949"),
        ("שלום, מצורפת החשבונית", "cp1255"),
        ("Γειά σας, σας στέλνουμε το τιμολόγιο", "iso8859-7"),
        ("สวัสดีครับ กรุณาตรวจสอบใบแจ้งหนี้", "cp874"),
    ],
)
def test_without_a_label_the_charset_is_detected(text: str, charset: str) -> None:
    assert decode(text.encode(charset)) == text
    assert decode(text.encode(charset), "x-unknown") == text
    assert decode(text.encode(charset), charset) == text


def test_another_charset_of_the_mail_is_a_hint() -> None:
    assert decode("Счёт".encode("koi8-r"), also="koi8-r") == "Счёт"
    assert decode(b"Gr\xfc\xdfe", also="utf-8") == "Grüße"


@given(
    st.binary(max_size=200),
    st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["utf-16", "utf-7", "hz"])),
)
def test_any_bytes_with_any_label_are_a_text(data: bytes, label: str | None) -> None:
    assert isinstance(decode(data, label), str)


@pytest.mark.parametrize("data", [b"\xe9" * 4_000_000, b"\x1b$B" * 1_000_000, b"\xe9 a" * 1_000_000])
def test_a_long_text_is_decoded_in_bounded_time(data: bytes) -> None:
    started = time.process_time()
    decode(data)
    assert time.process_time() - started < 10
