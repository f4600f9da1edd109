"""The limits that rules ask for: each must be set, and at most so much; and the root that must be read-only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hosts.rules.facts import Violation
from hosts.rules.rules import Rules

MIB = 1024 * 1024
BILLION = 1_000_000_000
DEFAULT_PERIOD = 100_000  # microseconds, the kernel's


def limits(rules: Rules, host: dict[str, Any], prefix: str = "HostConfig.") -> Iterator[Violation]:
    if rules.memory:
        yield from _memory(rules, host, prefix)
    if rules.nano_cpus:
        found = cpus(host)
        if not 0 < found <= rules.nano_cpus:
            yield Violation(f"{prefix}NanoCpus", f"{found / BILLION:g} CPUs" if found else "no limit", _cpus(rules))
    if rules.pids:
        pids = host.get("PidsLimit") or 0
        if not 0 < pids <= rules.pids:
            yield Violation(f"{prefix}PidsLimit", str(pids) if pids > 0 else "no limit", f"1 to {rules.pids}")
    if rules.read_only_root and prefix.startswith("Host") and not host.get("ReadonlyRootfs"):
        yield Violation(f"{prefix}ReadonlyRootfs", "false", "true")


def _memory(rules: Rules, host: dict[str, Any], prefix: str) -> Iterator[Violation]:
    allowed = f"up to {rules.memory / MIB:g} MiB"
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if not 0 < memory <= rules.memory:
        yield Violation(f"{prefix}Memory", f"{memory / MIB:g} MiB" if memory > 0 else "no limit", allowed)
    # With swap; unsaid it is twice the memory.
    if swap < 0 or swap > 2 * rules.memory:
        yield Violation(f"{prefix}MemorySwap", "no limit" if swap < 0 else f"{swap / MIB:g} MiB", f"twice {allowed}")
    if host.get("OomKillDisable"):
        yield Violation(f"{prefix}OomKillDisable", "true", "false")


def _cpus(rules: Rules) -> str:
    return f"up to {rules.nano_cpus / BILLION:g} CPUs"


def cpus(host: dict[str, Any]) -> int:
    """Billionths of a CPU, by either of the two ways to say so; 0: no limit."""
    if nano := host.get("NanoCpus") or 0:
        return max(0, int(nano))
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or DEFAULT_PERIOD
    return int(quota * BILLION / period) if quota > 0 < period else 0
