"""Limits that this kernel cannot set: left out with a warning, so that the container runs without them.

Words and order are Docker's (moby, daemon/daemon_unix.go, verifyPlatformContainerResources).
"""

from typing import Any

from gantry_agent.engine.runtime import cgroups

LACKING = "Your kernel does not support {} or the cgroup is not mounted. {} discarded."
WEIGHTS = ("blkio.weight", "io.weight", "io.bfq.weight")
"""Files of I/O weights, in version 1 and 2, that both runtimes know."""
_BLOCK = (
    ("BlkioWeight", WEIGHTS, ("Block I/O weight", "Weight")),
    ("BlkioWeightDevice", ("blkio.weight_device", "io.bfq.weight"), ("Block I/O weight_device", "Weight-device")),
    *(
        (
            f"BlkioDevice{way.capitalize()}{unit}",
            (f"blkio.throttle.{way}_{unit.lower()}_device", "io.max"),
            (f"{words} {way} limit", f"Block I/O {unit.upper()} {way} limit"),
        )
        for unit, words in (("Bps", "BPS Block I/O"), ("IOps", "IOPS Block"))
        for way in ("read", "write")
    ),
)
"""Field, the files one of which a group must have, and how Docker calls what is not supported and what is discarded."""


def discard(host: dict[str, Any]) -> list[str]:
    """Take what cannot be out of a HostConfig; a warning for each."""
    return [*_memory(host), *_cpuset(host), *_block(host)]


def can_limit_swap() -> bool:
    """Whether swap is accounted for by this kernel."""
    return cgroups.supports("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")


def can_weigh() -> bool:
    """Whether this kernel has I/O weights."""
    return cgroups.supports(_io(), *WEIGHTS)


def _memory(host: dict[str, Any]) -> list[str]:
    warnings = []
    if (host.get("Memory") or 0) > 0 and host.get("MemorySwap") != -1 and not can_limit_swap():
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted."
            " Memory limited without swap."
        )
        host["MemorySwap"] = -1
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness != -1 and cgroups.is_unified():
        warnings.append(LACKING.format("memory swappiness capabilities", "Memory swappiness"))
        host["MemorySwappiness"] = None
    if host.get("OomKillDisable") and cgroups.is_unified():
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        host["OomKillDisable"] = False
    if host.get("OomKillDisable") and not host.get("Memory"):
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system"
            " running out of resources."
        )
    if host.get("KernelMemory"):
        warnings.append("Kernel memory limits are no longer supported. Limitation discarded.")
    return warnings


def _cpuset(host: dict[str, Any]) -> list[str]:
    if not (host.get("CpusetCpus") or host.get("CpusetMems")) or "cpuset" in cgroups.controllers():
        return []
    host["CpusetCpus"] = host["CpusetMems"] = ""
    return [LACKING.format("cpuset", "Cpuset")]


def _block(host: dict[str, Any]) -> list[str]:
    warnings = []
    for name, files, words in _BLOCK:
        if host.get(name) and not cgroups.supports(_io(), *files):
            warnings.append(LACKING.format(*words))
            host[name] = 0 if name == "BlkioWeight" else []
    return warnings


def _io() -> str:
    return "io" if cgroups.is_unified() else "blkio"
