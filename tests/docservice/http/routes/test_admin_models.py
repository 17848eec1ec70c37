"""What the bodies and queries of the admin routes may be."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from docservice.http.routes.admin_models import AuditFilters


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_beyond_the_calendar_of_utc_is_refused(since: str) -> None:
    with pytest.raises(ValidationError, match="within the years 1 to 9999 in UTC"):
        AuditFilters.model_validate({"since": since})
