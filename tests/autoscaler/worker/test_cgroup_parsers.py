"""The texts of the kernel's files, legal and not."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.worker import cgroup, cgroup_v1, cgroup_v2, files, mounts
from autoscaler.worker import machine as this_machine
from tests.support.cgroup_trees import (
    KERNEL_LIKE,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Plant: TypeAlias = Callable[[Mapping[str, str]], Path]
    MakeGroup: TypeAlias = Callable[[str, str], Path]
    Start: TypeAlias = Callable[[str, list[Path]], subprocess.Popen[str]]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return lambda files: write_tree(tmp_path, files)


# Parsers


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", None),
        ("max\n", None),
        ("50000\n", 0.5),
        ("150000 100000\n", 1.5),
        ("7000 2000\n", 3.5),
    ],
)
def test_cpu_max_is_a_quota_of_a_period_in_one_field_or_two(text: str, cores: float | None) -> None:
    assert cgroup_v2.parse_cpu_max(text) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", None), ("0\n", None), ("150000\n", 3.0)])
def test_a_v1_quota_of_zero_or_less_is_none(quota: str, cores: float | None) -> None:
    assert cgroup_v1.parse_cfs_quota(quota, "50000\n") == cores


@pytest.mark.parametrize(
    ("quota", "period"), [("x", "100000"), ("", "1"), ("5", "0"), ("5", ""), ("--1", "1")]
)
def test_a_v1_quota_that_makes_no_sense_is_refused(quota: str, period: str) -> None:
    with pytest.raises(ValueError, match="is no quota; legal is -1 or microseconds, and a period above 0"):
        cgroup_v1.parse_cfs_quota(quota, period)


def test_a_membership_names_each_controller_and_v2_by_the_empty_name() -> None:
    text = "12:cpu,cpuacct:/a:b\n3:cpuset:/\n1:name=systemd:/x\n0::/y\x0by\n"
    assert mounts.parse_membership(text) == {
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "cpuset": "/",
        "name=systemd": "/x",
        "": "/y\x0by",
    }


@pytest.mark.parametrize("text", ["", "\n", "0::\n", "0:/\n", "x\n", "1::/\n", "0:cpu:/\n", "1:cpu:a\n"])
def test_a_membership_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number:controllers:/path"):
        mounts.parse_membership(text)


def test_mounts_are_the_cgroup_lines_with_their_escapes_resolved() -> None:
    text = (
        "22 1 0:20 / / rw - overlay cgroup rw\n"
        "32 31 0:29 /do\\134c /sys/fs/cgroup/a\\040b rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    )
    assert mounts.parse_mounts(text) == (
        mounts.CgroupMount(
            root="/do\\c", point="/sys/fs/cgroup/a b", controllers=frozenset({"rw", "cpu", "cpuacct"})
        ),
        mounts.CgroupMount(root="/", point="/sys/fs/cgroup/unified", controllers=None),
    )


def test_a_list_of_cpus_has_ranges_and_single_ones() -> None:
    assert this_machine.parse_cpu_list("0-2,5,7-8\n") == {0, 1, 2, 5, 7, 8}


@pytest.mark.parametrize("text", ["", "1-", "-1", "3-1", "a", "1,,2", "0-99999999999", "٣"])
def test_a_list_of_cpus_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no list of CPUs"):
        this_machine.parse_cpu_list(text)


@pytest.mark.parametrize("text", ["", "1_000", "+5", "-5", "1.5", "٣", "9" * 21, "ma"])
def test_a_count_is_plain_digits_within_the_kernels_range(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number of 0 or more"):
        files.parse_count(text)


# Properties

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
@settings(deadline=None)  # the machine may be busy
@given(text=KERNEL_LIKE | st.text())
def test_a_parser_gives_a_value_or_a_value_error_whatever_the_text(
    parse: Callable[[str], object], text: str
) -> None:
    with contextlib.suppress(ValueError):
        parse(text)


# The law


def test_the_module_loads_nothing_beyond_the_standard_library() -> None:
    package = Path(cgroup.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); import autoscaler.worker.cgroup;"
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    names = ("", *(f".{name}" for name in ("cgroup", "cgroup_v1", "cgroup_v2", "files", "machine", "mounts")))
    assert run.stdout.split() == ["__main__", "autoscaler", *(f"autoscaler.worker{name}" for name in names)]
