"""The signal of a group: a value that cannot be illegal."""

from __future__ import annotations

import pytest

from tests.support.target_wait import signal


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="waiting is -1; it is 0 or more"):
        signal(0.0, -1, 0, 1)
