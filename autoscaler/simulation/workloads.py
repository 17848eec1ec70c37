"""Made traces, each from a seed: what the open ones do not show, and what a policy must not be fitted to.

Each function returns the same trace for the same seed. Service times are lognormal.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from autoscaler.simulation.traces import ServiceModel, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DAY_SECONDS = 86_400.0


def _poisson(
    name: str,
    *,
    rate: Callable[[float], float],
    max_rate: float,
    seconds: float,
    service: Callable[[float, random.Random], float],
    seed: int,
) -> Trace:
    """Return arrivals at ``rate(t)`` a second, never above ``max_rate``, by thinning."""
    rng = random.Random(f"{name}/{seed}")  # noqa: S311 - a simulation
    arrivals: list[float] = []
    services: list[float] = []
    at = rng.expovariate(max_rate)
    while at < seconds:
        if rng.random() * max_rate < rate(at):
            arrivals.append(at)
            services.append(service(at, rng))
        at += rng.expovariate(max_rate)
    return Trace(name=name, arrivals_seconds=arrivals, services_seconds=services, duration_seconds=seconds)


def _lognormal(mean: float, variation: float = 1.0) -> Callable[[float, random.Random], float]:
    model = ServiceModel(mean_seconds=mean, variation=variation)
    return lambda _at, rng: model.draw(rng)


def quiet_nights(seed: int = 0, seconds: float = _DAY_SECONDS) -> Trace:
    """A working day of 10 h, bell-shaped, and a night with a task every ten minutes."""
    return _poisson(
        "quiet nights",
        rate=lambda at: 3.0 * max(0.0, math.sin(math.pi * at / 36_000)) ** 2 * (at < 36_000) + 1 / 600,  # noqa: PLR2004
        max_rate=3.01,
        seconds=seconds,
        service=_lognormal(2.0),
        seed=seed,
    )


def on_off(seed: int = 0, seconds: float = 10_800.0) -> Trace:
    """Bursts of 15 tasks a second for 20 s on average, pauses of a minute, both exponential."""
    rng = random.Random(f"on off/{seed}/phases")  # noqa: S311 - a simulation
    bursts: list[tuple[float, float]] = []
    at = 0.0
    while at < seconds:
        at += rng.expovariate(1 / 60)
        burst = rng.expovariate(1 / 20)
        bursts.append((at, at + burst))
        at += burst
    phase = iter(bursts)
    current = next(phase)

    def rate(moment: float) -> float:
        nonlocal current
        while moment >= current[1]:
            current = next(phase, (math.inf, math.inf))
        return 15.0 if moment >= current[0] else 0.02

    return _poisson("on off", rate=rate, max_rate=15.0, seconds=seconds, service=_lognormal(1.0), seed=seed)


def flash_crowd(seed: int = 0, seconds: float = 7200.0) -> Trace:
    """One task a second; at a third of the time 30 more, decaying within minutes, and once again."""
    first, second = seconds / 3, seconds * 2 / 3

    def rate(at: float) -> float:
        crowd = 30 * math.exp(-(at - first) / 180) if at > first else 0.0
        return 1 + crowd + (20 * math.exp(-(at - second) / 60) if at > second else 0.0)

    return _poisson(
        "flash crowd", rate=rate, max_rate=52.0, seconds=seconds, service=_lognormal(1.5), seed=seed
    )


def tripling(seed: int = 0, seconds: float = 7200.0) -> Trace:
    """Two tasks a second of 2 s, which take 6 s in the middle third."""
    usual, slow = _lognormal(2.0, 0.7), _lognormal(6.0, 0.7)
    return _poisson(
        "tripling",
        rate=lambda _at: 2.0,
        max_rate=2.0,
        seconds=seconds,
        service=lambda at, rng: (slow if seconds / 3 < at < seconds * 2 / 3 else usual)(at, rng),
        seed=seed,
    )


def tiny_tasks(seed: int = 0, seconds: float = 3600.0) -> Trace:
    """Tasks of 20 ms: 60 a second in a swell, and 400 more for 10 s of every 5 minutes."""
    return _poisson(
        "20 ms tasks",
        rate=lambda at: 60 * (1 + math.sin(at / 200)) + (400 if at % 300 < 10 else 0),  # noqa: PLR2004
        max_rate=520.0,
        seconds=seconds,
        service=_lognormal(0.02, 0.5),
        seed=seed,
    )


def long_tasks(seed: int = 0, seconds: float = 43_200.0) -> Trace:
    """Tasks of 10 minutes, 6 to 24 at a time."""
    return _poisson(
        "10 min tasks",
        rate=lambda at: 0.025 * (1 + 0.6 * math.sin(at / 3000)),
        max_rate=0.04,
        seconds=seconds,
        service=_lognormal(600.0, 0.3),
        seed=seed,
    )


def mixture(seed: int = 0, seconds: float = 7200.0) -> Trace:
    """Four fifths of 50 ms, a fifth of 3 s, one in a hundred of a minute, in one queue."""
    short, middle, long = _lognormal(0.05, 0.5), _lognormal(3.0), _lognormal(60.0)

    def service(at: float, rng: random.Random) -> float:
        drawn = rng.random()
        return (short if drawn < 0.8 else middle if drawn < 0.99 else long)(at, rng)  # noqa: PLR2004

    return _poisson(
        "mixture",
        rate=lambda at: 3 * (1 + math.sin(at / 700)),
        max_rate=6.0,
        seconds=seconds,
        service=service,
        seed=seed,
    )


def batches(seed: int = 0, seconds: float = 10_800.0) -> Trace:
    """A batch every 90 s on average, of 8 to 150 tasks, heavy-tailed, published within half a second."""
    rng = random.Random(f"batches/{seed}")  # noqa: S311 - a simulation
    arrivals: list[float] = []
    at = rng.expovariate(1 / 90)
    while at < seconds - 1:
        count = min(150, int(8 * rng.paretovariate(1.2)))
        arrivals += [at + rng.random() / 2 for _ in range(count)]
        at += rng.expovariate(1 / 90)
    arrivals.sort()
    draw = _lognormal(1.2)
    return Trace(
        name="batches",
        arrivals_seconds=arrivals,
        services_seconds=[draw(moment, rng) for moment in arrivals],
        duration_seconds=seconds,
    )


def levels(seed: int = 0, seconds: float = 7200.0) -> Trace:
    """A rate that jumps each minute among 0.2 to 10 a second, tasks of 3 s with a long tail."""
    rng = random.Random(f"levels/{seed}/steps")  # noqa: S311 - a simulation
    steps = [rng.choice((0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) for _ in range(int(seconds // 60) + 1)]
    return _poisson(
        "levels",
        rate=lambda at: steps[int(at // 60)],
        max_rate=10.0,
        seconds=seconds,
        service=_lognormal(3.0, 1.5),
        seed=seed,
    )


WORKLOADS: Mapping[str, Callable[[int], Trace]] = {
    "quiet-nights": quiet_nights,
    "on-off": on_off,
    "flash-crowd": flash_crowd,
    "tripling": tripling,
    "tiny-tasks": tiny_tasks,
    "long-tasks": long_tasks,
    "mixture": mixture,
    "batches": batches,
    "levels": levels,
}
