"""Finds where the control groups of a process are mounted: v1, v2 and hybrids.

What belongs here: ``/proc/<pid>/cgroup``, ``/proc/<pid>/mountinfo`` and the folders they lead to. What may
never enter: what is in those folders. Standard library only, Python 3.9.

Each controller is looked up by itself: a v1 line of ``/proc/<pid>/cgroup`` wins, else it is v2. A cgroup2
mount proves nothing, since hybrid hosts have one without controllers.

Sources: cgroups(7), proc(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .files import Unreadable, is_there, read_value, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_OCTAL_ESCAPE = re.compile(r"\\([0-3][0-7]{2})")


class CgroupMount(NamedTuple):
    """One mounted cgroup hierarchy, or a part of it.

    ``root`` is the group that is mounted at ``point``. ``controllers`` are those of a v1 hierarchy (with its
    other mount options), None for v2.
    """

    root: str
    point: str
    controllers: frozenset[str] | None


class ProcessFiles(NamedTuple):
    """A process and what its files say of its groups.

    ``root`` is put in front of each absolute path, "" for the file system's own; ``folder`` is the process's
    in ``/proc``; ``groups`` is what :func:`parse_membership` returns; ``mounts`` are the reading process's.
    """

    root: str
    folder: str
    own: bool
    groups: dict[str, str]
    mounts: tuple[CgroupMount, ...]


class Hierarchy(NamedTuple):
    """One controller's groups of a process: ``levels`` are folders, from its own group to the mount point."""

    unified: bool
    group: str
    levels: tuple[str, ...]


def parse_membership(text: str) -> dict[str, str]:
    """The group of each v1 controller by its name, and the v2 group by the empty name.

    Args:
        text: ``/proc/<pid>/cgroup``, for example ``4:cpu,cpuacct:/docker/abc`` and ``0::/init.scope``.

    Raises:
        ValueError: where there is no line, or one that is not ``number:controllers:/path``.
    """
    groups: dict[str, str] = {}
    for line in filter(None, text.split("\n")):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path.startswith("/") or (number == "0") != (not controllers):
            raise ValueError(f"the line {shown(line)} is not 'number:controllers:/path'")
        groups.update(dict.fromkeys(controllers.split(","), path))
    if not groups:
        raise ValueError("it has no line 'number:controllers:/path'")
    return groups


def parse_mounts(text: str) -> tuple[CgroupMount, ...]:
    """The cgroup mounts among all mounts, in their order, octal escapes resolved.

    Args:
        text: ``/proc/<pid>/mountinfo``; proc(5) has its fields.

    Raises:
        ValueError: where the line of a cgroup mount lacks fields.
    """
    mounts = []
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        kind, _, source_and_options = after.partition(" ")
        if kind not in {"cgroup", "cgroup2"}:
            continue
        fields = before.split(" ")
        options = source_and_options.partition(" ")[2]
        if len(fields) < 6 or not options:  # noqa: PLR2004 - id, parent, device, root, point, options
            raise ValueError(f"the line {shown(line)} lacks fields of a mount")
        mounts.append(
            CgroupMount(
                root=_unescaped(fields[3]),
                point=_unescaped(fields[4]),
                controllers=None if kind == "cgroup2" else frozenset(options.split(",")),
            )
        )
    return tuple(mounts)


def read_process(root: str, pid: int | None) -> ProcessFiles:
    """The groups of a process, this one for None.

    Raises:
        Unreadable: where its files cannot be read.
    """
    folder = f"{root}/proc/{'self' if pid is None else pid}"
    return ProcessFiles(
        root=root,
        folder=folder,
        own=pid is None,
        groups=read_value(f"{folder}/cgroup", parse_membership),
        mounts=read_value(f"{root}/proc/self/mountinfo", parse_mounts),
    )


def find_hierarchy(process: ProcessFiles, controller: str) -> Hierarchy:
    """The folders of the process's groups of one controller.

    Raises:
        Unreadable: where its group is not visible in any mount.
    """
    unified = controller not in process.groups
    group = process.groups.get(controller, process.groups.get(""))
    if group is None:
        raise Unreadable(f"{process.folder + '/cgroup'!r} names no group for {controller}")
    for top, below in _places(process, group, "" if unified else controller):
        if is_there(top + below):
            levels = [top + below]
            while levels[-1] != top:
                levels.append(levels[-1].rpartition("/")[0])
            return Hierarchy(unified=unified, group=group, levels=tuple(levels))
    raise Unreadable(
        f"the group {shown(group)} of {controller} is not to be seen in any cgroup mount;"
        " mount the whole /sys/fs/cgroup, or share the process's namespaces"
    )


def _places(process: ProcessFiles, group: str, controller: str) -> Iterator[tuple[str, str]]:
    """Where a group may be: pairs of a mount point and the path below it, the best first."""
    # The kernel writes both the group and the roots as seen from the reader's cgroup namespace, whoever's
    # files they come from, so they can be compared, "/.." in front or not.
    yield from _mapped(process.root, process.mounts, group, controller, bind_mounted=process.own)
    if not process.own:
        theirs = read_value(f"{process.folder}/mountinfo", parse_mounts)
        yield from _mapped(f"{process.folder}/root", theirs, group, controller, bind_mounted=True)


def _mapped(
    root: str, mounts: tuple[CgroupMount, ...], group: str, controller: str, *, bind_mounted: bool
) -> Iterator[tuple[str, str]]:
    fitting = [
        mount
        for mount in mounts
        if (controller in mount.controllers if mount.controllers is not None else not controller)
    ]
    for mount in sorted(fitting, key=lambda mount: len(mount.root)):  # a shorter root shows more parents
        below = _below(group, mount.root)
        if below is not None:
            yield root + mount.point, below
    if group == "/" and bind_mounted:
        # A runtime that mounts the container's group and hides its path. A root with ".." lies outside of
        # this namespace, and so is not the container's.
        for mount in fitting:
            if mount.root != "/" and ".." not in mount.root.split("/"):
                yield root + mount.point, ""


def _below(group: str, mount_root: str) -> str | None:
    """The path of a group below a mount's root, "" or "/…", or None where it does not lie there."""
    prefix = mount_root.rstrip("/")
    below = group[len(prefix) :].rstrip("/")
    if not group.startswith(prefix) or below[:1] not in {"", "/"} or ".." in below.split("/"):
        return None
    return below


def _unescaped(field: str) -> str:
    return _OCTAL_ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), field)
