"""The faults of settings that cannot be loaded."""

from __future__ import annotations

import pytest

from autoscaler.settings import table as config
from autoscaler.settings.load import ConfigError, load

URL = {"REDIS_URL": "redis://h"}


def faults_of(flags=None, environment=None, settings=config.ALL):
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, URL if environment is None else environment, settings)
    return caught.value.faults
