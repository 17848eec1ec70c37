"""A mail number has one form, and what SQL is given to match it means what Python's words mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docservice.domain.mail_number import MailNumberError, like_pattern, normalise, range_end

texts = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc")),
        st.sampled_from("%_\\aA\u00df\u00e9\u0130\u0131 \ud7ff\ue000\U0010ffff\u0345"),
    ),
    max_size=20,
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" mn-2026-000123 ", "MN-2026-000123"),
        ("mn  2026\t7", "MN 2026 7"),
        ("stra\u00dfe", "STRASSE"),
        ("cafe\u0301", "CAF\u00c9"),
        ("50%_\\", "50%_\\"),
    ],
)
def test_has_one_form(text: str, form: str) -> None:
    assert normalise(text) == form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mail number has at least one character that is not blank"),
        ("  \t", "a mail number has at least one character that is not blank"),
        ("A\x00B", "a mail number has no control character such as U+0000"),
        ("A\ud800", "a mail number has no control character such as U+D800"),
        ("x" * 201, "a mail number has at most 200 characters, not 201"),
        ("ß" * 150, "a mail number has at most 200 characters, not 300"),
    ],
)
def test_refuses_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(MailNumberError) as refused:
        normalise(text)
    assert str(refused.value) == message


@given(texts)
def test_the_form_of_a_form_is_itself(text: str) -> None:
    try:
        form = normalise(text)
    except MailNumberError:
        return
    assert normalise(form) == form


@given(texts.filter(bool), texts)
def test_a_prefix_is_a_range_of_bytes(prefix: str, text: str) -> None:
    end = range_end(prefix)
    for candidate in (text, prefix + text):
        encoded = candidate.encode()
        inside = encoded >= prefix.encode() and (end is None or encoded < end.encode())
        assert inside == candidate.startswith(prefix)


def test_only_the_last_code_points_have_no_end() -> None:
    assert range_end("\U0010ffff\U0010ffff") is None
    assert range_end("a\U0010ffff") == "b"
    assert range_end("\ud7ff") == "\ue000"


def test_a_pattern_takes_every_sign_as_itself() -> None:
    assert like_pattern(r"50%_\x") == r"%50\%\_\\x%"
    assert like_pattern("a%", starts=True) == r"a\%%"
    assert like_pattern("a%", ends=True) == r"%a\%"
