"""Needs along edges: against the optimum of small graphs, found by trying every cut."""

from __future__ import annotations

import time
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation import TargetRange, allocate
from autoscaler.core.demand.routes import place, total_of, unmet


def subsets(items):
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def optimum(needs, room, edges):
    """The most that any routing can place: the smallest cut (Ford and Fulkerson), all of them tried."""
    sources = range(len(needs))
    return min(
        sum(needs[one] for one in sources if one not in chosen)
        + sum(room[sink] for sink in {sink for one in chosen for sink in edges[one]})
        for chosen in subsets(sources)
    )


@st.composite
def graphs(draw):
    sinks = draw(st.integers(1, 5))
    sources = draw(st.integers(1, 5))
    edges = [sorted(draw(st.sets(st.integers(0, sinks - 1)))) for _ in range(sources)]
    needs = [draw(st.integers(0, 9)) for _ in range(sources)]
    room = [draw(st.integers(0, 9)) for _ in range(sinks)]
    sizes = [draw(st.integers(0, 9)) for _ in range(sinks)]
    return needs, room, sizes, edges


@given(graphs())
def test_as_much_is_placed_as_any_routing_could_and_only_along_edges(graph):
    needs, room, sizes, edges = graph
    flow = place(needs, room, sizes, edges)
    assert sum(map(sum, (taken.values() for taken in flow))) == optimum(needs, room, edges)
    for source, taken in enumerate(flow):
        assert sum(taken.values()) <= needs[source]
        assert {sink for sink, amount in taken.items() if amount} <= set(edges[source])
        assert all(amount >= 0 and amount == int(amount) for amount in taken.values())
    totals = total_of(flow, len(room))
    assert all(taken <= most for taken, most in zip(totals, room, strict=True))
    assert place(needs, room, sizes, edges) == flow


@given(graphs(), st.sampled_from([1.0, 0.1, 1 / 3]))
def test_what_is_unmet_is_the_least_possible_in_shares_too(graph, share):
    needs, room, _, edges = graph
    needs, room = [share * one for one in needs], [share * one for one in room]
    found = unmet(needs, room, edges)
    assert sum(found) == pytest.approx(sum(needs) - optimum(needs, room, edges), abs=1e-6)
    assert all(-1e-9 <= left <= need + 1e-9 for left, need in zip(found, needs, strict=True))


@given(graphs())
def test_of_one_source_everything_goes_where_an_allocation_of_the_total_would_put_it(graph):
    needs, room, sizes, _ = graph
    ranges = [
        TargetRange(f"w{number}", size, size, size + more)
        for number, (size, more) in enumerate(zip(sizes, room, strict=True))
    ]
    targets = allocate(ranges, sum(sizes) + needs[0])
    flow = place(needs[:1], room, sizes, [range(len(room))])
    placed = [size + more for size, more in zip(sizes, total_of(flow, len(room)), strict=True)]
    assert placed == [targets[one.worker] for one in ranges]


def test_a_need_moves_out_of_the_way_of_one_that_can_go_nowhere_else():
    # Both reach the first sink, only the second need reaches the other one.
    flow = place([3, 3, 1], [3, 3, 1], [0, 0, 9], [[0, 2], [0, 1], [0, 2]])
    assert total_of(flow, 3) == [3, 3, 1]


def test_a_hundred_queues_on_a_hundred_workers_take_a_few_milliseconds():
    edges = [[(7 * source + 13 * step) % 100 for step in range(50)] for source in range(100)]
    needs, room = [40 + source % 7 for source in range(100)], [41] * 100
    spent = []
    for _ in range(5):
        begun = time.process_time()
        flow = place(needs, room, [1] * 100, edges)
        spent.append(time.process_time() - begun)
    assert sum(total_of(flow, 100)) == 4100
    assert min(spent) < 0.05
    print(min(spent))
