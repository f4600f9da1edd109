"""What is mounted inside a container: the kernel's filesystems, the network's files, binds, volumes, tmpfs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gantry_agent.engine.containers.model import Container, MountPoint
from gantry_agent.engine.runtime import cgroups

SHM_SIZE = 64 << 20  # bytes; Docker's default
TMPFS_OPTIONS = ("noexec", "nosuid", "nodev")  # Docker's own for --tmpfs
MASKED = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def mounts(
    container: Container, files: Mapping[str, Path], shm: Path | None, init: str, shared_ipc: Path | None
) -> list[dict[str, Any]]:
    """The OCI's mounts, in the order in which they are made: a parent before what lies below it. The network's files
    come last, as with Docker: they are seen also where a volume is /etc, or what /etc/resolv.conf links to.

    `shm`: a folder of the host that is /dev/shm, for IpcMode shareable; `shared_ipc`: another container's.
    """
    host = container.host_config
    asked = {each.target for each in container.mounts}
    found = [each for each in _kernel(host, shm or shared_ipc) if each["destination"] not in asked]
    if init:
        found.append(_bind(init, "/sbin/docker-init", ["ro"]))
    found += [_mount_point(each) for each in container.mounts]
    access = ["ro"] if host.get("ReadonlyRootfs") else []
    found += [_bind(str(source), target, access) for target, source in files.items() if target not in asked]
    return found


def _kernel(host: Mapping[str, Any], shm: Path | None) -> Iterable[dict[str, Any]]:
    privileged = bool(host.get("Privileged"))
    quiet = ["nosuid", "noexec", "nodev"]
    yield {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet}
    yield {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    }
    yield {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    }
    yield {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "rw" if privileged else "ro"]}
    yield {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": [*quiet, "relatime", "rw" if privileged else "ro"],
    }
    if host.get("IpcMode") == "host":
        if Path("/dev/mqueue").exists():
            yield _bind("/dev/mqueue", "/dev/mqueue", [])
        else:
            yield {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet}
        yield _bind("/dev/shm", "/dev/shm", [])
        return
    yield {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet}
    if shm:
        yield _bind(str(shm), "/dev/shm", [])
    elif host.get("IpcMode") != "none":
        size = int(host.get("ShmSize") or SHM_SIZE)
        options = [*quiet, "mode=1777", f"size={size}"]
        yield {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options}


def _mount_point(mount: MountPoint) -> dict[str, Any]:
    access = "rw" if mount.writable else "ro"
    if mount.kind == "tmpfs":
        options = mount.options or list(TMPFS_OPTIONS)
        return {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": [*options, access]}
    # Docker's default: what the host mounts below a bind later is not seen, nor the reverse.
    options = ["bind" if "bind" in mount.options else "rbind", access, mount.propagation or "rprivate"]
    return {"destination": mount.target, "type": "bind", "source": mount.source, "options": options}


def _bind(source: str, target: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", *options]}


def masked(host: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The paths hidden, and those read-only; none for a privileged container, and as HostConfig says otherwise."""
    if host.get("Privileged"):
        return [], []
    hidden, fixed = host.get("MaskedPaths"), host.get("ReadonlyPaths")
    return list(MASKED if hidden is None else hidden), list(READ_ONLY if fixed is None else fixed)


def cgroup_mode(host: Mapping[str, Any]) -> str:
    """Whose cgroup namespace a container has, host or private: by default one of its own with version 2 only."""
    return host.get("CgroupnsMode") or ("private" if cgroups.is_unified() else "host")
