"""The curves of the demo."""

from __future__ import annotations

from autoscaler.demo.view import Curve, sparkline


def test_a_curve_keeps_its_scale_while_it_is_idle():
    curve = Curve()
    for value in (8, *[1] * 100):
        curve.take(value)
    assert set(curve.drawn()) == {"▁"}


def test_a_curve_is_as_high_as_its_share():
    assert sparkline([0, 1, 4, 8], 8) == " ▁▄█"
