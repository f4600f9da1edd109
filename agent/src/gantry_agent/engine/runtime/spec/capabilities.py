"""Capabilities by Docker's names: CAP_ is optional, ALL is every one."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gantry_agent.engine.errors import InvalidArgument

# fmt: off
NAMES = (  # in the kernel's order, capability.h
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)
DEFAULT = (  # Docker's (oci/caps/defaults.go)
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)
# fmt: on


@cache
def known() -> tuple[str, ...]:
    """Those this kernel has and the engine itself may give: a container cannot get what its engine lacks."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bounding = int(line.split()[1], 16)
            return tuple(f"CAP_{name}" for number, name in enumerate(NAMES) if bounding >> number & 1)
    return ()


def chosen(add: Iterable[str], drop: Iterable[str], *, privileged: bool) -> list[str]:
    """The capabilities of a container. Raises InvalidArgument for an unknown name."""
    if privileged:
        return list(known())
    added, dropped = _named(add), _named(drop)
    if "ALL" in dropped:
        base: list[str] = []
    elif "ALL" in added:
        base = list(known())
    else:
        base = [each for name in DEFAULT if (each := f"CAP_{name}") in known()]
    wanted = (set(base) | added) - dropped if "ALL" not in dropped else added
    return [each for each in known() if each in (wanted if "ALL" not in wanted else set(known()) - dropped)]


def _named(names: Iterable[str]) -> set[str]:
    found = set()
    for name in names or ():
        upper = str(name).strip().upper()
        if upper == "ALL":
            found.add("ALL")
            continue
        full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
        if full.removeprefix("CAP_") not in NAMES:
            raise InvalidArgument(f'invalid CapAdd or CapDrop: unknown capability: "{full}"')
        found.add(full)
    return found
