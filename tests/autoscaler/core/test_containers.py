"""Workers under one limit: who gets how much of what fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.containers import Part, split
from autoscaler.core.model import Bounds, Reason
from tests.support.builders import MIB, container, decide, decision, look, prompt_policy, queue, worker


@pytest.mark.parametrize(
    ("fits", "claims", "expected"),
    [
        pytest.param(8, [(0, 0, 1), (0, 0, 1)], [4, 4], id="idle ones share evenly"),
        pytest.param(8, [(3, 9, 9), (0, 0, 4)], [7, 1], id="an idle one gives way to tasks"),
        pytest.param(8, [(2, 9, 9), (6, 9, 9)], [2, 6], id="busy processes first"),
        pytest.param(8, [(4, 9, 9), (0, 2, 4)], [6, 2], id="then what tasks need, the smallest first"),
        pytest.param(1, [(4, 4, 4), (4, 4, 4)], [1, 1], id="one process is the least"),
    ],
)
def test_what_fits_is_split_by_need(fits, claims, expected):
    assert split(fits, claims) == expected


@given(
    st.integers(1, 60),
    st.lists(st.tuples(*[st.integers(0, 30)] * 3).map(sorted), min_size=1, max_size=4),
)
def test_the_parts_are_what_fits_and_no_busy_process_goes_while_an_idle_one_stays(fits, claims):
    sizes = split(fits, claims)
    assert sum(sizes) == max(fits, len(claims))
    short = any(size < busy for size, (busy, *_) in zip(sizes, claims, strict=True))
    assert not short or all(size <= max(1, busy) for size, (busy, *_) in zip(sizes, claims, strict=True))


def one_by_one(fits, claims):
    """The same as `split`, process by process."""
    sizes = [1] * len(claims)
    for wanted in [*zip(*claims, strict=True), (fits,) * len(claims)]:
        while sum(sizes) < fits and (short := [n for n, size in enumerate(sizes) if size < wanted[n]]):
            sizes[min(short, key=lambda n: (sizes[n], n))] += 1
    return sizes


@given(st.integers(0, 60), st.lists(st.tuples(*[st.integers(0, 25)] * 3).map(sorted), min_size=1, max_size=5))
def test_the_split_is_that_of_one_process_after_the_other(fits, claims):
    assert split(fits, claims) == one_by_one(fits, claims)


def test_room_for_any_number_is_split_at_once():
    assert split(2**60, [(0, 3, 3), (1, 1, 1)]) == [2**59, 2**59]


def test_a_part_stands_in_the_place_of_the_whole_where_there_is_a_limit():
    bounds = Bounds(min_processes=1, max_processes=9, cpu_processes=8)
    assert Part(cpu_processes=3, memory_processes=2).within(bounds) == Bounds(
        min_processes=1, max_processes=9, cpu_processes=3
    )


def box(**fields):
    return container(cpu_limit_cores=8.0, cpu_limited=True, cpu_limit_id="c", **fields)


def test_two_workers_of_one_container_do_not_get_its_cpus_twice():
    seen = look(
        0,
        worker("celery@a", 4, busy=4, queues=("a",), container=box()),
        worker("celery@b", 4, busy=4, queues=("b",), container=box()),
        worker(
            "celery@c", 4, busy=4, queues=("c",), container=container(cpu_limit_cores=8.0, cpu_limited=True)
        ),
        queues=(queue(50, "a"), queue(50, "b"), queue(50, "c")),
    )
    assert decide(seen) == (
        decision(4, 4, Reason.CPU_CEILING, name="celery@a"),
        decision(4, 4, Reason.CPU_CEILING, name="celery@b"),
        decision(4, 8, Reason.CPU_CEILING, name="celery@c"),
    )


def test_an_idle_worker_gives_way_to_a_busy_one_of_its_container():
    seen = look(
        0,
        worker("celery@a", 4, busy=4, queues=("a",), container=box()),
        worker("celery@b", 4, queues=("b",), container=box()),
        queues=(queue(50, "a"), queue(0, "b")),
    )
    # In one tick, where nothing delays: the limit is kept throughout, since idle processes go at once.
    assert [one.desired for one in decide(seen)] == [7, 1]


def test_a_worker_that_does_not_say_how_many_are_busy_gives_way_to_none():
    seen = look(
        0,
        worker("celery@a", 4, busy=4, queues=("a",), container=box()),
        worker("celery@b", 4, busy=None, queues=("b",), container=box()),
        queues=(queue(50, "a"), queue(0, "b")),
    )
    assert [one.desired for one in decide(seen)] == [4, 4]


def test_two_workers_of_one_container_share_its_memory():
    memory = {
        "memory_limit_bytes": 1000 * MIB,
        "memory_limited": True,
        "parent_rss_bytes": 100 * MIB,
        "child_rss_bytes": (100 * MIB,) * 3,
        "container_id": "m",
    }
    seen = look(
        0,
        worker("celery@a", 3, busy=3, queues=("a",), container=container(**memory)),
        worker("celery@b", 3, busy=3, queues=("b",), container=container(**memory)),
        queues=(queue(50, "a"), queue(50, "b")),
    )
    # (1000 MiB x 0.85 - 2 x 100) / 100 is 6.
    assert [(one.desired, one.reason) for one in decide(seen, policy=prompt_policy())] == [
        (3, Reason.MEMORY_CEILING)
    ] * 2


def test_the_memory_that_is_free_in_a_container_is_there_once_for_all_its_workers():
    used = container(
        memory_limit_bytes=1000 * MIB,
        memory_limited=True,
        memory_used_bytes=600 * MIB,
        child_peak_bytes=100 * MIB,
        child_peak_p95_bytes=100 * MIB,
        container_id="m",
    )
    names = ("celery@a", "celery@b", "celery@c")
    busy = [worker(name, 1, busy=1, completed=9, container=used) for name in names]
    # 1000 MiB x 0.85 - 600 is room for 2 more: those that work get it, in one tick.
    assert [one.desired for one in decide(look(100, *busy))] == [2, 2, 1]
    idle = busy[0]._replace(busy=0, queues=("other",))
    found = decide(look(0, idle, *busy[1:], queues=(queue(100), queue(0, "other"))))
    assert [one.desired for one in found] == [1, 2, 2]
    alone = decide(look(100, busy[0]._replace(container=used._replace(container_id=None))))
    assert [one.desired for one in alone] == [3]


@pytest.mark.parametrize(
    ("pressure", "expected"),
    [
        pytest.param(0.0, [6, 1], id="1000 MiB x 0.85 - 300 is room for 5 more"),
        pytest.param(0.5, [1, 1], id="processes wait for memory"),
    ],
)
def test_a_worker_that_has_shown_nothing_yet_holds_no_other_of_its_container_back(pressure, expected):
    used = container(
        memory_limit_bytes=1000 * MIB,
        memory_limited=True,
        memory_used_bytes=300 * MIB,
        child_peak_bytes=100 * MIB,
        child_peak_p95_bytes=100 * MIB,
        memory_pressure=pressure,
        container_id="m",
    )
    busy = worker("celery@a", 1, busy=1, completed=9, queues=("a",), container=used)
    new = worker("celery@b", 1, completed=0, queues=("b",), container=used)
    found = decide(look(0, busy, new, queues=(queue(100, "a"), queue(0, "b"))))
    assert [one.desired for one in found] == expected


def test_nor_does_it_hold_one_back_whose_processes_are_threads():
    used = container(
        memory_limit_bytes=1000 * MIB, memory_limited=True, memory_used_bytes=300 * MIB, container_id="m"
    )
    busy = worker("celery@a", 1, busy=1, completed=9, queues=("a",), container=used)
    seen = used._replace(child_peak_bytes=100 * MIB, child_peak_p95_bytes=100 * MIB)
    new = worker("celery@b", 1, completed=0, queues=("b",), container=seen)
    found = decide(look(0, busy, new, queues=(queue(5, "a"), queue(0, "b"))))
    assert [one.desired for one in found] == [6, 1]
