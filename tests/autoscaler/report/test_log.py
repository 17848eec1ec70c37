"""Log lines as data, with secrets taken out of every part."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.connections import Redactor
from autoscaler.report.log import clean, get_logger


def logged(*secrets, style="json", level="info", write=lambda log: log.info("event")):
    redactor, stream = Redactor(), io.StringIO()
    redactor.add(secrets)
    write(get_logger(level=level, style=style, redact=redactor, stream=stream))
    return stream.getvalue()


def test_a_line_is_one_json_object_with_its_values():
    text = logged(write=lambda log: log.info("pool.resized", worker="a@h", current=1, target=4, detail=None))
    line = json.loads(text)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "pool.resized",
        "level": "info",
        "worker": "a@h",
        "current": 1,
        "target": 4,
        "detail": None,
    }
    assert text.count("\n") == 1


@pytest.mark.parametrize("name", ["two\nlines", 'quo"te', "\x1b[31mred", "ünï✓", "\ud800"])
def test_an_odd_name_stays_on_its_line(name):
    text = logged(write=lambda log: log.warning("condition", name=name))
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert json.loads(text)["name"] == name


@pytest.mark.parametrize(
    ("level", "events"),
    [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")],
)
def test_what_is_below_the_level_is_not_logged(level, events):
    def write(log):
        log.debug("d")
        log.info("i")
        log.warning("w")
        log.error("e")

    lines = logged(level=level, write=write).splitlines()
    assert "".join(json.loads(line)["event"] for line in lines) == events


@pytest.mark.parametrize("style", ["console", "json", "auto"])
def test_secrets_are_taken_out_of_names_texts_nested_values_and_exceptions(style):
    secret = "s3cr3t/word"
    event = f"event {secret}"

    def write(log):
        log.info(event, text=f"a {secret} b", nested={"list": [secret, {secret: (secret,)}]})
        log.info("objects", path=OSError(f"no {secret}"), raw=secret.encode())
        try:
            int(f"failed with {secret}")
        except ValueError:
            log.exception("fault")

    text = logged(secret, style=style, write=write)
    assert secret not in text
    assert text.count("***") >= 8
    assert "ValueError: invalid literal for int() with base 10: 'failed with ***'" in text.replace("\\'", "'")


def test_a_stream_that_is_no_terminal_gets_json_and_a_console_has_no_colours_on_it():
    assert json.loads(logged(style="auto"))["event"] == "event"
    text = logged(style="console")
    assert "event" in text
    assert "\x1b" not in text


def test_cleaning_keeps_the_shape_and_the_numbers():
    redact = Redactor()
    redact.add(["12"])
    value = {"a": 12, "b": [1.5, True, None, ("x12",)], "c12": {"d": "12"}, "x 12": 1}
    assert clean(value, redact) == {
        "a": 12,
        "b": [1.5, True, None, ["x***"]],
        "c12": {"d": "***"},
        "x ***": 1,
    }


def test_a_password_that_is_one_of_our_own_words_renames_no_key():
    redact = Redactor()
    redact.add(["worker"])
    assert clean({"workers": [{"worker": "worker@h"}]}, redact) == {"workers": [{"worker": "***@h"}]}


def test_the_longer_of_two_secrets_goes_first():
    redact = Redactor()
    redact.add(["abc"])
    redact.add(["abcdef", ""])
    assert redact("abcdef abc x") == "*** *** x"


@given(st.text(st.characters(exclude_characters="*"), min_size=1), st.text(), st.text())
def test_no_secret_is_left_in_any_text(secret, before, after):
    redact = Redactor()
    redact.add([secret])
    assert secret not in redact(before + secret + after)
