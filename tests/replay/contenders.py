"""What is replayed against what: each gets the same worker, the same tasks and the same bounds.

Time runs ``speed`` times as fast as in the trace, so every delay that a policy has is cut alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autoscaler.core.policy import Policy
from autoscaler.simulation.engine import PoolModel
from autoscaler.simulation.peers import PEERS, size_peer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.simulation.traces import Trace

MAX_PROCESSES = 16
PREFETCH = 4
#: Celery's own, in celery/worker/autoscale.py.
_KEEPALIVE_SECONDS = 30.0
_SHORTEST_INTERVAL_SECONDS = 0.2
_START_WORTH_SECONDS = 25.0
_DELAYS = (
    "scale_up_delay",
    "scale_down_delay",
    "stabilization",
    "scale_up_cooldown",
    "scale_down_cooldown",
)
#: The tasks sleep: what the machine's other load leaves of its CPU and memory must not bound their processes.
_UNLIMITED = {
    "processes_per_core": "1000",
    "cpu_high": "1",
    "throttled_high": "1",
    "memory_headroom": "1",
    "memory_high": "1",
}
_FLAGS = {"stabilization": "stabilization_window"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to size the worker: its options and environment, and the daemon's flags if it has one."""

    name: str
    processes: int = 1
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    daemon: Mapping[str, str] | None = None


def contenders(trace: Trace, target_wait_seconds: float, speed: float) -> list[Contender]:
    """This daemon in both ways, Celery's own autoscaler, and the fixed sizes that a user would try."""
    model = PoolModel(max_processes=MAX_PROCESSES, start_seconds=0.3, prefetch=PREFETCH)
    fixed = next(peer for peer in PEERS if peer.name == "fixed")
    sized = size_peer(fixed, trace, model, target_wait_seconds).peak_processes
    return [
        latency(target_wait_seconds, speed),
        Contender(name="thresholds", daemon=_daemon(speed)),
        Contender(
            name=f"celery --autoscale {MAX_PROCESSES},1",
            options=("--autoscale", f"{MAX_PROCESSES},1"),
            environment={"AUTOSCALE_KEEPALIVE": f"{_KEEPALIVE_SECONDS / speed:g}"},
        ),
        *(Contender(name=f"fixed {size}", processes=size) for size in sorted({sized, MAX_PROCESSES})),
    ]


def latency(target_wait_seconds: float, speed: float) -> Contender:
    """This daemon with ``--target-wait``."""
    flags = {
        "target_wait": f"{target_wait_seconds:g}s",
        "start_worth": f"{_START_WORTH_SECONDS / speed:g}",
    }
    return Contender(name=f"latency {target_wait_seconds:g} s", daemon={**_daemon(speed), **flags})


def _daemon(speed: float) -> dict[str, str]:
    policy = Policy()
    cut = {_FLAGS.get(name, name): f"{getattr(policy, f'{name}_seconds') / speed:g}" for name in _DELAYS}
    return {
        **cut,
        **_UNLIMITED,
        "interval": f"{max(_SHORTEST_INTERVAL_SECONDS, 1 / speed):g}",
        "max": str(MAX_PROCESSES),
        "settle_time": "10",
    }
