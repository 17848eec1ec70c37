"""A fleet as the external scaler watches it: a real broker, and workers that a test writes."""

from __future__ import annotations

from dataclasses import replace

from structlog import get_logger

from autoscaler.core.decider import Decider
from autoscaler.core.groups import Scope
from autoscaler.core.model import WorkerLayout
from autoscaler.core.state import State
from autoscaler.keda.fleet import Fleet, Pace
from autoscaler.report.status import TickRecord
from tests.support.builders import look, prompt_policy, worker

PACE = Pace(interval_seconds=2.0, fresh_seconds=10.0, patience_seconds=60.0)


class Watched:
    """A fleet, its clock, and what the next look finds."""

    def __init__(self):
        self.now = 1000.0
        self.state = State()
        self.decider = Decider(policy=prompt_policy(max_processes=None), scope=Scope())
        self.found = look(0, worker())
        self.unresponsive, self.left, self.faults = (), (), {}
        self.looks = 0
        self.fleet = Fleet(self._look, PACE, get_logger(), monotonic=lambda: self.now)

    def _look(self):
        self.looks += 1
        self.state, plan = self.decider.decide(self.state, self.found)
        workers = {name: known.reading for name, known in self.state.workers.items()}
        return TickRecord(
            observation=self.found,
            plan=plan,
            workers=workers,
            unresponsive=self.unresponsive,
            left=self.left,
            faults=self.faults,
        )

    def look(self, *workers, after=0.0, unresponsive=(), left=(), faults=None):
        self.now += after
        self.unresponsive, self.left, self.faults = unresponsive, left, faults or {}
        self.found = replace(look(0), at=self.now, workers=workers)
        self.fleet.look()


def kept_in(key, prefix=None):
    return WorkerLayout(unacked_key=key, global_keyprefix=prefix)
