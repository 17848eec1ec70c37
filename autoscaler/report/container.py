"""The JSON views of a worker's container and of what is remembered of its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoscaler.core.memory import MemoryRecord
    from autoscaler.core.model import ContainerReading


def container_view(container: ContainerReading) -> dict[str, Any]:
    """Limits are null where none is set; then the machine's are under ``machine``."""
    return {
        "cpu_limit_cores": container.cpu_limit_cores if container.cpu_limited else None,
        "cpu_usage_ratio": container.cpu_usage_ratio,
        "cpu_throttled_ratio": container.cpu_throttled_ratio,
        "memory_limit_bytes": container.memory_limit_bytes if container.memory_limited else None,
        "memory_used_bytes": container.memory_used_bytes,
        "worker_memory_bytes": container.own_memory_bytes,
        "memory_shared": container.memory_shared,
        "oom_kills": container.oom_kills,
        "machine": {
            "cpu_cores": None if container.cpu_limited else container.cpu_limit_cores,
            "memory_bytes": None if container.memory_limited else container.memory_limit_bytes,
        },
    }


def memory_view(memory: MemoryRecord, at: float) -> dict[str, Any]:
    """What is remembered of a worker's memory: peaks of its processes, kills, and the ceiling they left."""
    breach = memory.breach
    return {
        "process_peak_bytes": memory.peaks.largest if memory.peaks else None,
        "process_peak_p95_bytes": memory.peaks.usual if memory.peaks else None,
        "process_shared_bytes": memory.shared_bytes,
        "oom_kills_seen": memory.kills,
        "breach_ceiling": breach.allowed(at) if breach else None,
        "breach_remaining_seconds": round(max(0.0, breach.until - at), 1) if breach else None,
    }
