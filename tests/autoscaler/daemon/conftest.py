"""Ticks of a loop over a world that a test has made."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.daemon.loop import Controller
    from tests.support.daemon import World


@pytest.fixture
def run():
    """Ticks a world, one second apart; gives the last decision and the events that were logged."""
    controllers: dict[int, tuple[Controller, io.StringIO]] = {}

    def tick(world: World, times: int = 1, change: Callable[[], None] = lambda: None):
        if id(world) not in controllers:
            log = io.StringIO()
            controllers[id(world)] = (world.controller(log), log)
        controller, log = controllers[id(world)]
        change()
        for _ in range(times):
            record = controller.tick()
            world.now += 1
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        found = [(one["event"], one.get("subject"), one.get("name")) for one in lines]
        return record, [event for event in found if event[1] != "publish"]

    return tick
