"""What workers answer to remote control, for tests of the sensors."""

from __future__ import annotations

from hypothesis import strategies as st

UNKNOWN_COMMAND = {"error": "KeyError('pool_report')"}
REPORT = {
    "companion": 1,
    "pool": "prefork",
    "autoscale": False,
    "refusal": None,
    "size": 4,
    "ready": 3,
    "retiring": 1,
    "busy": 2,
    "reserved": 3,
    "scheduled": 5,
    "completed": 70,
    "uptime_seconds": 12.5,
    "pid": 1,
    "prefetch": 16,
    "queues": ["b", "a"],
    "start_seconds": 0.3,
    "container": {
        "cpu_limit_cores": 1.5,
        "cpu_limited": True,
        "cpu_usage_seconds": 9.5,
        "throttled_seconds": 0.5,
        "memory_limit_bytes": 4096,
        "memory_limited": True,
        "memory_used_bytes": 1024,
    },
    "parent_rss_bytes": 100,
    "child_rss_bytes": [10, 20],
}
STATS = {
    "total": {"nap": 7, "sum": 3},
    "uptime": 60,
    "prefetch_count": 8,
    "pool": {
        "implementation": "celery.concurrency.prefork:TaskPool",
        "max-concurrency": 2,
        "processes": [11, 12, 13],
    },
}

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])
    | st.floats()
    | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=6,
)
