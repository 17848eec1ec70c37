"""The one table of settings."""

from __future__ import annotations

from dataclasses import fields

import pytest

from autoscaler.core.policy import Policy
from autoscaler.settings import table as config
from tests.support.settings import URL, faults_of


def test_every_parameter_of_the_policy_has_a_flag_and_a_variable_of_its_own():
    assert len(config.PARAMETERS) == len(fields(Policy))
    for part in ("flag", "variable", "key"):
        names = [getattr(setting, part) for setting in config.ALL]
        assert len(set(names)) == len(names)
    assert {setting.variable for setting in config.ALL if not setting.variable.startswith("AUTOSCALER_")} == {
        "REDIS_URL",
        "REDIS_URL_FILE",
        "CELERY_AUTOSCALE_ENABLED",
    }


@pytest.mark.parametrize(
    ("key", "text", "legal"),
    [
        ("min", "0", "it must be a whole number from 1 to 10000 (processes)"),
        ("min", "2.5", "it must be a whole number from 1 to 10000 (processes)"),
        ("max", "many", "it must be a whole number from 1 to 10000 (processes), or auto"),
        ("scale_up_threshold", "nan", "it must be a number from 1 to 1000 (tasks per process)"),
        ("interval", "inf", "it must be a number from 0.2 to 300 (seconds)"),
        ("interval", "0", "it must be a number from 0.2 to 300 (seconds)"),
        ("redis_socket_timeout", "1", "it must be a number from 1.5 to 60 (seconds)"),
        ("redis_client_name", "a\nb", "it must be 1 to 200 printable characters"),
        ("name", "x" * 201, "it must be 1 to 200 printable characters"),
        ("log_level", "loud", "it must be one of debug, info, warning, error"),
        *[
            (
                "base_path",
                path,
                "it must be a path that begins with /, of letters, digits and - _ ~, as in /scaler",
            )
            for path in ("scaler", "/a//b", "/a/../b", "/a?b")
        ],
        ("listen", "h:70000", "it must be HOST:PORT, for instance 0.0.0.0:9809"),
        ("listen", "host", "it must be HOST:PORT, for instance 0.0.0.0:9809"),
        ("enabled", "perhaps", "it must be true or false"),
        ("priority_steps", "0,x", "it must be whole numbers separated by commas, as in 0,3,6,9"),
        (
            "queue_separator",
            "\\x0",
            r"it must be one or more characters; escapes such as \x06\x16 are understood",
        ),
        ("memory_limit", "lots", "it must be bytes above 0, as in 512Mi, 2Gi or 536870912"),
        ("worker_pid", "-1", "it must be a whole number from 1 to 4194304 (pid, or auto)"),
        ("cpu_limit", "0", "it must be a number from 0.01 to 10000 (cores)"),
    ],
)
def test_a_value_that_is_not_legal_is_named_with_its_source_and_what_is(key, text, legal):
    setting = next(one for one in config.ALL if one.key == key)
    shown = f"is {text[:60]!r}; {legal}"
    assert faults_of({key: text}) == [f"{setting.flag} {shown}"]
    assert faults_of({}, {**URL, setting.variable: text}) == [f"{setting.variable} {shown}"]
