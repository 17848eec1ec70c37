"""Drawn requests over the OpenAPI document find no 500 and no answer that is not documented."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

Live = Any  # of conftest

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# What waits for workers that are not there takes its time; it has tests of its own.
DRAWN = hypothesis_settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_every_answer_is_documented(live: Live) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    headers = {"Authorization": f"Bearer {live.tokens['system_admin']}"}
    operations = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        operations += 1

        @DRAWN
        @given(case=operation.as_strategy())
        def answers_as_documented(case: Any) -> None:
            answer = case.call(headers=headers, timeout=30)
            assert answer.status_code != 500, live.process.log()[-5000:]
            case.validate_response(answer, checks=CHECKS)

        answers_as_documented()
    assert operations == 23
