"""Where a container's limits and counters lie, in cgroups of version 1 and 2.

A container's group is PARENT/ID in every hierarchy, PARENT being /gantry unless its HostConfig names another.
"""

import contextlib
from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "/gantry"


@cache
def is_unified(root: Path = ROOT) -> bool:
    """Whether version 2 is mounted at the top: no version 1 at all."""
    return (root / "cgroup.controllers").exists()


@cache
def is_hybrid(root: Path = ROOT) -> bool:
    """Whether version 1 hierarchies stand beside a version 2 tree."""
    return (root / "unified" / "cgroup.procs").exists()


@cache
def controllers() -> frozenset[str]:
    """The controllers that can be used here."""
    if is_unified():
        return frozenset((ROOT / "cgroup.controllers").read_text().split())
    return frozenset(each.name for each in ROOT.iterdir() if (each / "cgroup.procs").exists())


def path_of(container_id: str, parent: str = "") -> str:
    """The group's path as the OCI configuration wants it."""
    return f"{(parent or PARENT).rstrip('/')}/{container_id}"


def folder(group: str, controller: str) -> Path:
    """Where one controller's files of a group lie."""
    return ROOT / group.lstrip("/") if is_unified() else ROOT / controller / group.lstrip("/")


@cache
def supports(controller: str, *names: str) -> bool:
    """Whether a container's group will have one of these files: a kernel may lack swap accounting, or I/O weights."""
    group = folder(PARENT, controller)
    try:
        group.mkdir(exist_ok=True)
    except OSError:
        return True  # the runtime then says what is wrong
    if is_unified() and not any(group.glob(f"{controller}.*")):
        return True  # its controllers are not on yet: nothing can be told
    return any((group / name).exists() for name in names)


def available(kind: str) -> str:
    """The CPUs ("cpus") or memory nodes ("mems") that a group may be given: "0-3,8"."""
    name = f"cpuset.{kind}.effective" if is_unified() else f"cpuset.{kind}"
    return next(iter(_lines(folder("", "cpuset") / name)), "")


def oom_kills(group: str) -> int:
    """How often the kernel killed in this group for want of memory; 0 when it is gone."""
    name = "memory.events" if is_unified() else "memory.oom_control"
    for line in _lines(folder(group, "memory") / name):
        key, _, value = line.partition(" ")
        if key == "oom_kill":
            return int(value)
    return 0


def lift_pids(container_id: str, parent: str = "") -> None:
    """Take the limit on a running container's processes away. Raises OSError."""
    (folder(path_of(container_id, parent), "pids") / "pids.max").write_text("max")


def pids(group: str) -> list[int]:
    """The processes of a group and of those below it."""
    top = folder(group, "pids" if "pids" in controllers() else "memory")
    found = [int(line) for line in _lines(top / "cgroup.procs")]
    for below in sorted(top.glob("**/cgroup.procs")):
        if below.parent != top:
            found += [int(line) for line in _lines(below)]
    return found


def group_of(container_id: str, parent: str = "") -> list[Path]:
    """A container's folders in every hierarchy, those that are there."""
    group = path_of(container_id, parent)
    tops = [ROOT] if is_unified() else [ROOT / each for each in controllers()]
    return [found for top in tops if (found := top / group.lstrip("/")).is_dir()]


def remove(container_id: str, parent: str = "") -> None:
    """Take its empty groups away, those below them first. Usually the runtime has; not when it was killed meanwhile."""
    for top in group_of(container_id, parent):
        for folder_below in sorted((each.parent for each in top.glob("**/cgroup.procs")), reverse=True):
            with contextlib.suppress(OSError):  # a process is still leaving: the next removal takes it
                folder_below.rmdir()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
