"""What a container uses, as `docker stats` wants it: read from its cgroups (v1, v2 or both) and its network namespace.

All numbers are as in Docker's API: nanoseconds of CPU time, bytes of memory, bytes and requests of block devices.
"""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .model import Container

NEVER = "0001-01-01T00:00:00Z"
TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # nanoseconds
MAX_FILE = 1 << 20  # bytes

Json = dict[str, Any]


@dataclass(frozen=True)
class Groups:
    """Where a process's cgroups are found: a folder by controller (v1), and the one of the unified tree."""

    controllers: dict[str, Path]
    unified: Path | None

    @classmethod
    def of(cls, pid: int, mounts: dict[str, tuple[str, Path]]) -> "Groups":
        """Those of a process. `mounts` from `cgroup_mounts`. Raises OSError when it has gone."""
        controllers: dict[str, Path] = {}
        unified = None
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            for name in names.split(",") if names else [""]:
                if name not in mounts:
                    continue
                root, folder = mounts[name]
                inside = path.removeprefix(root) if root != "/" else path
                found = folder / inside.lstrip("/")
                if name:
                    controllers[name] = found
                else:
                    unified = found
        return cls(controllers, unified)

    def folder(self, controller: str, unified_file: str) -> tuple[Path | None, bool]:
        """The folder of a controller and whether it is the unified one; (None, False) where it is not to be had."""
        if controller in self.controllers:
            return self.controllers[controller], False
        if self.unified is not None and (self.unified / unified_file).exists():
            return self.unified, True
        return None, False


def cgroup_mounts() -> dict[str, tuple[str, Path]]:
    """By controller ("" the unified tree): the mount's root inside the hierarchy and its folder."""
    found: dict[str, tuple[str, Path]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, folder = left.split(" ")[3:5]
        if kind == "cgroup2":
            found.setdefault("", (root, Path(folder)))
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, (root, Path(folder)))
    return found


def sample(container: Container, mounts: dict[str, tuple[str, Path]]) -> Json:
    """One reading, without what came before it. Blocking, about half a millisecond; an ended one reads as zeros."""
    found: Json = {
        "name": "/" + container.name,
        "id": container.id,
        "read": _now(),
        "preread": NEVER,
        "num_procs": 0,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(_BLKIO),
        "cpu_stats": _no_cpu(),
        "precpu_stats": _no_cpu(),
        "memory_stats": {},
        "storage_stats": {},
    }
    pid = container.state.pid
    if not container.is_running or not pid:
        return {**found, "read": NEVER}
    try:
        groups = Groups.of(pid, mounts)
        found["cpu_stats"] = _cpu(groups)
        found["memory_stats"] = _memory(groups)
        found["pids_stats"] = _pids(groups)
        found["blkio_stats"] = _blkio(groups)
        if container.network_mode != "host":
            found["networks"] = _networks(pid)
    except OSError:
        pass  # it ended meanwhile
    return found


def after(before: Json | None, now: Json) -> Json:
    """`now` with the CPU figures of the reading before it, which clients need for a percentage."""
    if before is None:
        return now
    return {**now, "precpu_stats": before["cpu_stats"], "preread": before["read"]}


def _now() -> str:
    nanoseconds = time.time_ns()
    when = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 1_000_000_000:09d}Z"


def _no_cpu() -> Json:
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def _cpu(groups: Groups) -> Json:
    folder, is_unified = groups.folder("cpuacct", "cpu.stat")
    usage: Json = _no_cpu()["cpu_usage"]
    if folder is not None and is_unified:
        stat = _pairs(folder / "cpu.stat")
        usage["total_usage"] = stat.get("usage_usec", 0) * 1000
        usage["usage_in_kernelmode"] = stat.get("system_usec", 0) * 1000
        usage["usage_in_usermode"] = stat.get("user_usec", 0) * 1000
    elif folder is not None:
        stat = _pairs(folder / "cpuacct.stat")
        usage["total_usage"] = _number(folder / "cpuacct.usage")
        usage["percpu_usage"] = [int(text) for text in _text(folder / "cpuacct.usage_percpu").split()]
        usage["usage_in_kernelmode"] = stat.get("system", 0) * TICK
        usage["usage_in_usermode"] = stat.get("user", 0) * TICK
    folder, is_unified = groups.folder("cpu", "cpu.stat")
    throttled = _pairs(folder / "cpu.stat") if folder is not None else {}
    host, count = _host_cpu()
    return {
        "cpu_usage": usage,
        "system_cpu_usage": host,
        "online_cpus": count,
        "throttling_data": {
            "periods": throttled.get("nr_periods", 0),
            "throttled_periods": throttled.get("nr_throttled", 0),
            "throttled_time": throttled.get("throttled_usec", 0) * 1000
            if is_unified
            else throttled.get("throttled_time", 0),
        },
    }


def _host_cpu() -> tuple[int, int]:
    """Nanoseconds all CPUs of the host have worked or idled, and how many are online."""
    lines = _text(Path("/proc/stat")).splitlines()
    total = sum(int(text) for text in lines[0].split()[1:8]) * TICK
    return total, sum(1 for line in lines if line.startswith("cpu") and line[3:4].isdigit())


def _memory(groups: Groups) -> Json:
    folder, is_unified = groups.folder("memory", "memory.current")
    if folder is None:
        return {}
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _number(folder / ("memory.max" if is_unified else "memory.limit_in_bytes"), host)
    found: Json = {
        "usage": _number(folder / ("memory.current" if is_unified else "memory.usage_in_bytes")),
        "stats": _pairs(folder / "memory.stat"),
        "limit": min(limit, host),
    }
    if not is_unified:
        found["max_usage"] = _number(folder / "memory.max_usage_in_bytes")
        found["failcnt"] = _number(folder / "memory.failcnt")
    return found


def _pids(groups: Groups) -> Json:
    folder, _ = groups.folder("pids", "pids.current")
    if folder is None:
        return {}
    limit = _number(folder / "pids.max", 0)
    return {"current": _number(folder / "pids.current"), **({"limit": limit} if limit else {})}


_BLKIO = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def _blkio(groups: Groups) -> Json:
    folder, is_unified = groups.folder("blkio", "io.stat")
    found: Json = dict.fromkeys(_BLKIO)
    if folder is None:
        return found
    volumes: list[Json] = []
    requests: list[Json] = []
    if is_unified:
        for line in _text(folder / "io.stat").splitlines():
            device, *pairs = line.split()
            values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            volumes += [_entry(device, "read", values.get("rbytes")), _entry(device, "write", values.get("wbytes"))]
            requests += [_entry(device, "read", values.get("rios")), _entry(device, "write", values.get("wios"))]
    else:
        for name, entries in (("io_service_bytes", volumes), ("io_serviced", requests)):
            for line in _text(folder / f"blkio.throttle.{name}_recursive").splitlines():
                words = line.split()
                if len(words) == 3:
                    entries.append(_entry(words[0], words[1], words[2]))
    found["io_service_bytes_recursive"], found["io_serviced_recursive"] = volumes, requests
    return found


def _entry(device: str, operation: str, value: str | None) -> Json:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(value or 0)}


_NET = (
    *("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "", "", "", ""),
    *("tx_bytes", "tx_packets", "tx_errors", "tx_dropped"),
)


def _networks(pid: int) -> dict[str, dict[str, int]]:
    """Counters by interface, loopback left out, as the namespace of the process has them."""
    found = {}
    for line in _text(Path(f"/proc/{pid}/net/dev")).splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            pairs = zip(_NET, numbers.split(), strict=False)
            found[name.strip()] = {key: int(value) for key, value in pairs if key}
    return found


def _text(path: Path) -> str:
    """A small file's content; "" where the kernel or this cgroup does not have it."""
    try:
        with path.open() as file:
            return file.read(MAX_FILE)
    except OSError:
        return ""


def _number(path: Path, otherwise: int = 0) -> int:
    """A file's number; `otherwise` for "max" and where it is missing."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else otherwise


def _pairs(path: Path) -> dict[str, int]:
    """A file of "name number" lines."""
    found = {}
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found
