"""The limit on the open files of this process, raised as far as the process may.

systemd and most shells start programs with 1,024 open files: a thousand clients that send nothing would keep
out everybody else until they are let go.
"""

from __future__ import annotations

import resource

#: No API process has use for more.
ENOUGH = 65_536


def raise_open_files() -> int:
    """Raise the limit to :data:`ENOUGH` where the hard limit allows it; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
