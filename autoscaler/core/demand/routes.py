"""Routes needs along edges to where there is room: a maximum flow from sources to sinks.

Pure and deterministic. A source (queues that the same workers consume) reaches the sinks of its edges and
no other. Each need goes first to the smallest sink with room; what finds none moves earlier needs out of its
way, along augmenting paths, so that nothing is left out that any routing could place.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Flows are sums of shares of processes: below this they are rounding.
_NOTHING = 1e-9

Flow = list[dict[int, float]]


def place(
    needs: Sequence[int], room: Sequence[int], sizes: Sequence[int], edges: Sequence[Sequence[int]]
) -> Flow:
    """How many of each source's ``needs`` go to which sink, in whole units.

    ``room`` is what each sink can take and ``sizes`` what it has already: the smallest grows first, ties go
    by the sink's number. Sources with fewer edges choose first, ties go by the source's number.
    """
    left: list[float] = list(room)
    grown = list(sizes)
    flow: Flow = [{} for _ in needs]
    missing: dict[int, float] = {}
    for source in sorted(range(len(needs)), key=lambda one: (len(edges[one]), one)):
        need = needs[source]
        smallest = [(grown[sink], sink) for sink in edges[source] if left[sink] > 0] if need else []
        heapq.heapify(smallest)
        while need and smallest:
            size, sink = smallest[0]
            left[sink] -= 1
            grown[sink] = size + 1
            flow[source][sink] = flow[source].get(sink, 0) + 1
            need -= 1
            if left[sink]:
                heapq.heapreplace(smallest, (size + 1, sink))
            else:
                heapq.heappop(smallest)
        if need:
            missing[source] = need
    _augment(flow, missing, left, edges)
    return flow


def unmet(needs: Sequence[float], supplies: Sequence[float], edges: Sequence[Sequence[int]]) -> list[float]:
    """What no routing of ``needs`` over ``supplies`` can meet, by source; the sum is the least possible."""
    left = list(supplies)
    flow: Flow = [{} for _ in needs]
    missing: dict[int, float] = {}
    for source in sorted(range(len(needs)), key=lambda one: (len(edges[one]), one)):
        need = needs[source]
        for sink in edges[source]:
            taken = min(need, left[sink])
            if taken > _NOTHING:
                left[sink] -= taken
                flow[source][sink] = taken
                need -= taken
                if need <= _NOTHING:
                    break
        if need > _NOTHING:
            missing[source] = need
    _augment(flow, missing, left, edges)
    return [missing.get(source, 0.0) for source in range(len(needs))]


def _augment(
    flow: Flow, missing: dict[int, float], left: list[float], edges: Sequence[Sequence[int]]
) -> None:
    """Route what is ``missing`` by moving what was routed before; what cannot be routed stays in it."""
    if not missing or max(left, default=0) <= _NOTHING:
        return
    takers: dict[int, set[int]] = {}
    for source, taken in enumerate(flow):
        for sink in taken:
            takers.setdefault(sink, set()).add(source)
    # What a search has seen in vain leads nowhere for the later ones either.
    dead: set[int] = set()
    for source in sorted(missing):
        while missing[source] > _NOTHING:
            path = _search(source, flow, takers, left, edges, dead)
            if path is None:
                break
            missing[source] -= _shift(path, missing[source], flow, takers, left)
        if missing[source] <= _NOTHING:
            del missing[source]


def _search(  # noqa: PLR0917 - the parts of one graph
    start: int,
    flow: Flow,
    takers: dict[int, set[int]],
    left: Sequence[float],
    edges: Sequence[Sequence[int]],
    dead: set[int],
) -> list[int] | None:
    """The shortest augmenting path as source, sink, source, ..., sink; None where there is none."""
    sink_of: dict[int, int] = {}  # by a source, the sink that it was reached over
    source_of: dict[int, int] = {}  # by a sink, the source that it was reached from
    reached = [start]
    for source in reached:
        for sink in edges[source]:
            if sink in source_of or sink in dead:
                continue
            source_of[sink] = source
            if left[sink] > _NOTHING:
                return _path(sink, start, source_of, sink_of)
            for other in sorted(takers.get(sink, ())):
                if other != start and other not in sink_of and flow[other].get(sink, 0) > _NOTHING:
                    sink_of[other] = sink
                    reached.append(other)
    dead.update(source_of)
    return None


def _path(sink: int, start: int, source_of: dict[int, int], sink_of: dict[int, int]) -> list[int]:
    path = [sink]
    while True:
        source = source_of[path[-1]]
        path.append(source)
        if source == start:
            return path[::-1]
        path.append(sink_of[source])


def _shift(
    path: Sequence[int],
    need: float,
    flow: Flow,
    takers: dict[int, set[int]],
    left: list[float],
) -> float:
    """Send as much as fits along a path; returns how much that was."""
    sources, sinks = path[0::2], path[1::2]
    moved = [flow[source][sink] for source, sink in zip(sources[1:], sinks, strict=False)]
    amount = min(need, left[sinks[-1]], *moved)
    for source, sink in zip(sources, sinks, strict=True):
        flow[source][sink] = flow[source].get(sink, 0) + amount
        takers.setdefault(sink, set()).add(source)
    for source, sink in zip(sources[1:], sinks, strict=False):
        flow[source][sink] -= amount
    left[sinks[-1]] -= amount
    return amount


def total_of(flow: Flow, sinks: int) -> list[int]:
    """What each of so many sinks takes in all."""
    totals = [0] * sinks
    for taken in flow:
        for sink, amount in taken.items():
            totals[sink] += round(amount)
    return totals
