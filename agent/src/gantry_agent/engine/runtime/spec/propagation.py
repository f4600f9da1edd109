"""Bind propagation: whether what is mounted later below a bind's source, or inside the container, is seen on both
sides.

shared hands mounts on both ways, slave from the host to the container only, private neither. The host's mount must be
shared itself, and so must the container's root (moby, daemon/oci_linux.go, withMounts).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.containers.model import MountPoint
from gantry_agent.engine.errors import Conflict

SHARED, SLAVE = ("shared", "rshared"), ("slave", "rslave")
MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class HostMount:
    """One mount of the host: where, and how it hands mounts on."""

    place: str
    is_shared: bool
    is_slave: bool


def of_root(mounts: Sequence[MountPoint]) -> str:
    """The OCI's rootfsPropagation; "" where the runtime's own will do."""
    wanted = {mount.propagation for mount in mounts}
    if wanted & set(SHARED):
        return "shared"
    return "rslave" if wanted & set(SLAVE) else ""


def check(mounts: Sequence[MountPoint]) -> None:
    """Raises Conflict, in Docker's words, where the host's mount does not hand on what a bind asks for. Blocks."""
    for mount in mounts:
        if mount.propagation not in (*SHARED, *SLAVE):
            continue
        holder = holder_of(mount.source, MOUNTS.read_text())
        is_slave = mount.propagation in SLAVE
        if not holder.is_shared and not (is_slave and holder.is_slave):
            kind = "shared or slave" if is_slave else "shared"
            raise Conflict(f"path {mount.source} is mounted on {holder.place} but it is not a {kind} mount")


def holder_of(path: str, mountinfo: str) -> HostMount:
    """The mount that `path` lies in. `mountinfo`: as proc(5) has it."""
    real = os.path.realpath(path)
    found = HostMount("/", is_shared=False, is_slave=False)
    for line in mountinfo.splitlines():
        fields, _, _ = line.partition(" - ")
        words = fields.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
        is_around = real == place or real.startswith(f"{place.rstrip('/')}/")
        if is_around and len(place) >= len(found.place):  # of several at one place the last one is seen
            kinds = {word.partition(":")[0] for word in words[6:]}
            found = HostMount(place, "shared" in kinds, "master" in kinds)
    return found
