"""The public path of what a Celery worker loads: ``celery worker -I autoscaler.companion``.

It re-exports :mod:`autoscaler.worker.commands`; importing it registers the remote commands ``pool_report``
and ``pool_resize``.
"""

from __future__ import annotations

from autoscaler.worker.commands import CONTRACT, MAX_SIZE, pool_report, pool_resize, stamp_published

__all__ = ["CONTRACT", "MAX_SIZE", "pool_report", "pool_resize", "stamp_published"]
