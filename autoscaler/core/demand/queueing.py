"""How many processes an even stream of tasks needs, so that few of them wait too long.

Pure. How often all of them are busy, and how long a task waits then: exactly for few tasks (Erlang, 1917),
for many as in heavy traffic (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential
servers", Operations Research, 1981). Service times that vary less than exponential ones need fewer, others
more.
"""

from __future__ import annotations

import math

#: Share of the tasks that may wait too long. The larger part of what may be late is left to what is not even.
SHARE = 0.0002
#: Up to so many tasks on average the exact formula is used.
_SMALL = 50.0
#: Beyond so many standard deviations all processes are busy for less than that share of the time.
_MAX_DEVIATIONS = 3.6
_HALVINGS = 12


def beyond(deviation: float, target_services: float) -> float:
    """Processes beyond the mean number of tasks, of which ``deviation`` is the standard deviation.

    All but ``SHARE`` of the tasks then start within ``target_services``, in mean service times.
    """
    mean = deviation**2
    if not mean:
        return 0.0
    if mean <= _SMALL:
        return _exactly(mean, target_services) - mean
    low, high = 0.0, _MAX_DEVIATIONS * deviation
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _all_busy(middle / deviation) * math.exp(-middle * target_services) > SHARE:
            low = middle
        else:
            high = middle
    return high


def _exactly(mean: float, target_services: float) -> int:
    """The least servers of a stream with ``mean`` tasks on average."""
    servers, blocked = 0, 1.0
    while True:
        servers += 1
        blocked = mean * blocked / (servers + mean * blocked)  # Erlang's B, from that of one server less
        if servers <= mean:
            continue
        busy = blocked / (1 - mean / servers * (1 - blocked))  # Erlang's C
        if busy * math.exp((mean - servers) * target_services) <= SHARE:
            return servers


def _all_busy(deviations: float) -> float:
    """Share of the tasks that find all processes busy, so many standard deviations beyond the mean."""
    density = math.exp(-(deviations**2) / 2) / math.sqrt(2 * math.pi)
    below = (1 + math.erf(deviations / math.sqrt(2))) / 2
    return density / (density + deviations * below)
