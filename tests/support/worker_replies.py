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
#: With every field that the companion of today reports.
FULL = {
    **REPORT,
    "queues": ["celery"],
    "rate_limited": 0,
    "discarded": 0,
    "consuming": True,
    "late_running_seconds": 3.5,
    "memory_wait_seconds": 12.5,
    "reconnects": 0,
    "resizers": {"default": 2.5},
    "container": {
        **REPORT["container"],  # type: ignore[dict-item]
        "memory_limit_bytes": 2**30,
        "memory_used_bytes": 2**28,
        "active_file_bytes": 1000,
        "inactive_file_bytes": 1000,
        "oom_kills": 0,
        "memory_failcnt": 0,
        "memory_pressure": 0.0,
        "container_id": "0123456789abcdef",
        "cpu_limit_id": "fedcba9876543210",
    },
    "parent_rss_bytes": 50 * 2**20,
    "parent_peak_bytes": 60 * 2**20,
    "child_rss_bytes": [30 * 2**20, 40 * 2**20],
    "child_peak_bytes": {"max": 50 * 2**20, "p95": 45 * 2**20, "p50": 40 * 2**20, "children": 4},
    "child_shared_bytes": 20 * 2**20,
    "worker_memory_bytes": 120 * 2**20,
    "memory_shared": False,
    "layout": {
        "separator": "\x06\x16",
        "priority_steps": [0, 3, 6, 9],
        "global_keyprefix": "",
        "unacked_key": "unacked",
        "visibility_timeout_seconds": 3600.0,
        "control_exchange": "celery",
        "eta_task_limit": None,
        "prefetch_disabled": False,
        "serializer": "json",
        "accept": ["json"],
        "private_queues": [],
        "start_method": "fork",
    },
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
