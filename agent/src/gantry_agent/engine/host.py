"""What this machine is and can do, read from its files: the facts of GET /info and GET /version."""

import asyncio
import os
import platform
import re
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
PATIENCE = 5.0  # seconds a part may take to tell its version

_versions: dict[tuple[str, float], str] = {}


def architecture() -> str:
    """This machine's architecture in Go's words, as images name it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine, machine)


def operating_system() -> tuple[str, str]:
    """(pretty name, version) of the distribution, from os-release(5); ("Linux", "") when it does not say."""
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        try:
            found = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        except OSError:
            continue
        name, version = (found.get(key, "").strip("\"'") for key in ("PRETTY_NAME", "VERSION_ID"))
        return name or "Linux", version
    return "Linux", ""


def hostname() -> str:
    """The kernel's name for this machine."""
    return socket.gethostname()


def memory() -> int:
    """Bytes of memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def processors() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def now() -> str:
    """The time as Docker writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def is_set(*path: str) -> bool:
    """Whether a kernel switch below /proc/sys holds 1; False when the kernel has no such switch."""
    try:
        return PROC.joinpath("sys", *path).read_text().strip() == "1"
    except OSError:
        return False


def open_files() -> int:
    """Descriptors this process holds."""
    return len(os.listdir(PROC / "self" / "fd"))


def cgroup_version() -> str:
    """ "2" on a pure unified layout, else "1" (also for the hybrid one, whose controllers are version 1's)."""
    return "2" if (CGROUPS / "cgroup.controllers").exists() else "1"


def limits() -> dict[str, bool]:
    """Which limits the kernel's cgroups can set here, by the names of /info."""
    if cgroup_version() == "2":
        found = set((CGROUPS / "cgroup.controllers").read_text().split())
        has = {name: name in found for name in ("memory", "cpu", "cpuset", "pids")}
        swap = has["memory"] and (PROC / "swaps").exists()
        kinds = {"period": has["cpu"], "quota": has["cpu"], "oom": False}
    else:
        memory_group, cpu = CGROUPS / "memory", CGROUPS / "cpu"
        has = {name: (CGROUPS / name).is_dir() for name in ("memory", "cpu", "cpuset", "pids")}
        swap = (memory_group / "memory.memsw.limit_in_bytes").exists()
        kinds = {
            "period": (cpu / "cpu.cfs_period_us").exists(),
            "quota": (cpu / "cpu.cfs_quota_us").exists(),
            "oom": (memory_group / "memory.oom_control").exists(),
        }
    return {
        "MemoryLimit": has["memory"],
        "SwapLimit": swap,
        "CpuCfsPeriod": kinds["period"],
        "CpuCfsQuota": kinds["quota"],
        "CPUShares": has["cpu"],
        "CPUSet": has["cpuset"],
        "PidsLimit": has["pids"],
        "OomKillDisable": kinds["oom"],
    }


def filesystem_of(path: Path) -> str:
    """The type of the filesystem that holds `path`, as mounts name it; "" when it is not found."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in (PROC / "self" / "mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return rest.split()[0]
    return ""


async def version_of(program: str) -> str:
    """What `program --version` says: its first number; "" when it is not installed or says none.

    Asked once for each file: the answer is kept until the file changes.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/lib/podman:/usr/libexec/podman")
    if not path:
        return ""
    key = (path, os.stat(path).st_mtime)
    if key not in _versions:
        _versions[key] = await _ask_version(path)
    return _versions[key]


async def _ask_version(path: str) -> str:
    process = await asyncio.create_subprocess_exec(
        path,
        "--version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    found = re.search(rb"\d+(\.\d+)+[-+~.\w]*", said)
    return found[0].decode() if found else ""
