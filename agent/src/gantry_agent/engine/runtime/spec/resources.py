"""Limits: Docker's Resources as the OCI's LinuxResources."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.runtime import cgroups

from .discards import can_limit_swap, can_weigh

MIN_MEMORY = 6 << 20  # bytes; Docker's own minimum
CPU_PERIOD = 100_000  # microseconds
SET, RANGE = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*"), re.compile(r"(\d+)-(\d+)")

ALWAYS: tuple[dict[str, Any], ...] = (  # what every container may use (moby, oci/devices; runc, AllowedDevices)
    {"allow": False, "access": "rwm"},
    *({"allow": True, "type": kind, "access": "m"} for kind in "cb"),
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
    ),
)


def check(host: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for limits that cannot be, as Docker words them."""
    memory, swap = _number(host, "Memory"), _number(host, "MemorySwap")
    reservation = _number(host, "MemoryReservation")
    if memory != 0 and memory < MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and not -1 <= int(swappiness) <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    nano, cores = _number(host, "NanoCpus"), os.cpu_count() or 1
    if nano and (_number(host, "CpuPeriod") or _number(host, "CpuQuota")):
        which = "CpuPeriod" if _number(host, "CpuPeriod") else "CpuQuota"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and {_words(which)} cannot both be set.")
    if nano < 0 or nano > cores * 10**9:
        raise InvalidArgument(f"range of CPUs is from 0.01 to {cores}.00, as there are only {cores} CPUs available")
    period, quota = _number(host, "CpuPeriod"), _number(host, "CpuQuota")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    weight = _number(host, "BlkioWeight")
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    adjustment = _number(host, "OomScoreAdj")
    if not -1000 <= adjustment <= 1000:
        raise InvalidArgument(f"Invalid value {adjustment}, range for oom score adj is [-1000, 1000]")
    for name, kind, words in (("CpusetCpus", "cpus", "CPUs"), ("CpusetMems", "mems", "memory nodes")):
        _check_set(str(host.get(name) or ""), kind, words)


def resources(host: Mapping[str, Any]) -> dict[str, Any]:
    """LinuxResources without devices: what `update` hands to the runtime too."""
    memory, swap = _number(host, "Memory"), _number(host, "MemorySwap")
    found: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    if memory:
        limits["limit"] = memory
    if (memory or swap) and can_limit_swap():
        limits["swap"] = swap or 2 * memory  # Docker: as much swap again
    if reservation := _number(host, "MemoryReservation"):
        limits["reservation"] = reservation
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness >= 0 and not cgroups.is_unified():
        limits["swappiness"] = int(swappiness)
    if host.get("OomKillDisable") and not cgroups.is_unified():
        limits["disableOOMKiller"] = True
    if limits:
        found["memory"] = limits
    if cpu := _cpu(host):
        found["cpu"] = cpu
    pids = int(host.get("PidsLimit") or 0)
    if pids > 0:  # crun 1.8 writes -1 as it is, which the kernel refuses; without a number there is no limit
        found["pids"] = {"limit": pids}
    if block := _block(host):
        found["blockIO"] = block
    return found


def devices(host: Mapping[str, Any], extra: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Which devices may be used: all for a privileged container."""
    if host.get("Privileged"):
        return [{"allow": True, "access": "rwm"}]
    return [*(dict(each) for each in ALWAYS), *(dict(each) for each in extra), *_rules(host)]


def _rules(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """DeviceCgroupRules: "c 1:3 rwm"."""
    found = []
    for rule in host.get("DeviceCgroupRules") or ():
        words = str(rule).split()
        major, _, minor = words[1].partition(":") if len(words) == 3 else ("", "", "")
        is_right = len(words) == 3 and words[0] in "abc" and set(words[2]) <= set("rwm")
        if not is_right or not all(each == "*" or each.isdecimal() for each in (major, minor)):
            raise InvalidArgument(f"invalid device cgroup rule format: '{rule}'")
        entry: dict[str, Any] = {"allow": True, "type": words[0], "access": words[2]}
        entry |= {name: int(each) for name, each in (("major", major), ("minor", minor)) if each != "*"}
        found.append(entry)
    return found


def _cpu(host: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if shares := _number(host, "CpuShares"):
        found["shares"] = max(2, shares)
    if nano := _number(host, "NanoCpus"):
        found["period"], found["quota"] = CPU_PERIOD, nano * CPU_PERIOD // 10**9
    for name, key in (
        ("CpuPeriod", "period"),
        ("CpuQuota", "quota"),
        ("CpuRealtimePeriod", "realtimePeriod"),
        ("CpuRealtimeRuntime", "realtimeRuntime"),
    ):
        if value := _number(host, name):
            found[key] = value
    for name, key in (("CpusetCpus", "cpus"), ("CpusetMems", "mems")):
        if host.get(name):
            found[key] = str(host[name])
    return found


def _block(host: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (weight := _number(host, "BlkioWeight")) and can_weigh():
        found["weight"] = weight
    if weights := host.get("BlkioWeightDevice"):
        found["weightDevice"] = [{**_numbers(each["Path"]), "weight": each["Weight"]} for each in weights]
    for name in ("ReadBps", "WriteBps", "ReadIOps", "WriteIOps"):
        if limits := host.get(f"BlkioDevice{name}"):
            key = f"throttle{name.replace('IOps', 'IOPS')}Device"
            found[key] = [{**_numbers(each["Path"]), "rate": each["Rate"]} for each in limits]
    return found


def _numbers(path: str) -> dict[str, int]:
    try:
        found = os.stat(path)
    except OSError as exc:
        raise InvalidArgument(f"no such device: {path}") from exc
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidArgument(f"{path} is not a block device")
    return {"major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}


def _check_set(text: str, kind: str, words: str) -> None:
    """Raises InvalidArgument for a list ("0-2,4") that is none, or names what this host has not."""
    if not text:
        return
    if not SET.fullmatch(text) or any(int(low) > int(high) for low, high in RANGE.findall(text)):
        raise InvalidArgument(f"Invalid value {text} for cpuset {kind}")
    available = cgroups.available(kind)
    if not _members(text) <= _members(available):
        raise InvalidArgument(f"Requested {words} are not available - requested {text}, available: {available}")


def _members(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


def _number(host: Mapping[str, Any], name: str) -> int:
    return int(host.get(name) or 0)


def _words(name: str) -> str:
    return {"CpuPeriod": "CPU Period", "CpuQuota": "CPU Quota"}[name]
