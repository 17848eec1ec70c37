"""Slips in the settings, on a real worker: findings of ``check``, and of ``once``."""

from __future__ import annotations

import json

import pytest

W1 = "w1@h"
TARGET = "nobody: no worker consumes it and it holds no message; queues that workers consume: celery"

UNKNOWN = "AUTOSCALER_TARGET_WAT is not a setting and has no effect; did you mean AUTOSCALER_TARGET_WAIT?"


@pytest.mark.slow
def test_unknown_names_are_findings_of_once_and_check(autoscaler_process):
    words = ("--max", "5", "--target-wait", "nobody=3s", "--queue", "celery", "--queue", "nope")
    slip = {"AUTOSCALER_TARGET_WAT": "3s"}
    code, out, err = autoscaler_process("once", *words, **slip)
    assert (code, W1 in out) == (1, True)
    assert err.splitlines() == [
        f"autoscaler: {UNKNOWN}",
        f"autoscaler: --queue {TARGET.replace('nobody', 'nope')}",
        f"autoscaler: --target-wait {TARGET}",
    ]
    code, out, err = autoscaler_process("check", *words, "--json", **slip)
    found = [one for one in json.loads(out)["findings"] if one["level"] in ("fail", "warn")]
    assert (code, err, [one["subject"] for one in found]) == (
        1,
        "",
        ["variable AUTOSCALER_TARGET_WAT", "--queue nope", "--target-wait nobody"],
    )
    code, out, _ = autoscaler_process("check", "--max", "5", "--worker", "nope@vm")
    assert code == 1
    assert (
        f"fail  --worker nope@vm: no worker of this name answers\n      -> workers that answer: {W1}" in out
    )
