"""The small files of the kernel: numbers, and texts that are none."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.worker import cgroup, cgroup_v1, cgroup_v2, files, mounts
from autoscaler.worker import machine as this_machine
from tests.support.cgroup_trees import KERNEL_LIKE

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("text", ["", "1_000", "+5", "-5", "1.5", "٣", "9" * 21, "ma"])
def test_a_count_is_plain_digits_within_the_kernels_range(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number of 0 or more"):
        files.parse_count(text)


PARSERS = {
    "membership": mounts.parse_membership,
    "mounts": mounts.parse_mounts,
    "cpu_max": cgroup_v2.parse_cpu_max,
    "cfs_quota": lambda text: cgroup_v1.parse_cfs_quota(text, text),
    "memory_limit": cgroup_v2.parse_memory_limit,
    "count": files.parse_count,
    "stat": lambda text: files.parse_stat(text, "usage_usec"),
    "meminfo": lambda text: this_machine.parse_meminfo(text, "MemTotal"),
    "pressure": files.parse_pressure,
    "cpu_list": this_machine.parse_cpu_list,
    "affinity": this_machine.parse_affinity,
    "cpuinfo": this_machine.parse_cpuinfo,
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(text=KERNEL_LIKE | st.text())
def test_a_parser_gives_a_value_or_a_value_error_whatever_the_text(
    parse: Callable[[str], object], text: str
) -> None:
    with contextlib.suppress(ValueError):
        parse(text)


def test_the_module_loads_nothing_beyond_the_standard_library() -> None:
    package = Path(cgroup.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); import autoscaler.worker.cgroup;"
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    names = ("", *(f".{name}" for name in ("cgroup", "cgroup_v1", "cgroup_v2", "files", "machine", "mounts")))
    assert run.stdout.split() == ["__main__", "autoscaler", *(f"autoscaler.worker{name}" for name in names)]
