"""Other limits and another restart policy for a container that is there: what is asked for, and what that comes to.

Pure: no database, no engine.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from containers import spec
from controlplane.lib.errors import InvalidArgument
from hosts.rules.limits import BILLION, DEFAULT_PERIOD, cpus


@dataclass(frozen=True)
class Changes:
    """What is asked for; None: as it is. `memory` (bytes), `nano_cpus`, `pids`: 0 for no limit. `restart`: the engine's
    RestartPolicy."""

    memory: int | None = None
    nano_cpus: int | None = None
    pids: int | None = None
    restart: dict[str, Any] | None = None

    def as_params(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_empty(self) -> bool:
        return self == Changes()

    def body(self, host: dict[str, Any]) -> dict[str, Any]:
        """The body of POST /containers/ID/update for a container with this HostConfig: what differs.

        Raises InvalidArgument for a limit that no engine takes away.
        """
        body: dict[str, Any] = {}
        if self.memory is not None and self.memory != limit(host, "Memory"):
            body |= self._memory(host)
        if self.nano_cpus is not None and self.nano_cpus != cpus(host):
            body |= self._cpus(host)
        if self.pids is not None and self.pids != limit(host, "PidsLimit"):
            body["PidsLimit"] = self.pids or -1
        if self.restart is not None and self.restart != policy_of(host):
            body["RestartPolicy"] = self.restart
        return body

    def _memory(self, host: dict[str, Any]) -> dict[str, int]:
        """With swap in the proportion that it has; engines refuse a memory limit above the one that includes swap."""
        assert self.memory is not None
        if not self.memory:
            raise _not_taken_away("memory", spec.memory_text(limit(host, "Memory")))
        before, swap = limit(host, "Memory"), host.get("MemorySwap") or 0
        if swap < 0:
            return {"Memory": self.memory}
        return {
            "Memory": self.memory,
            "MemorySwap": self.memory * swap // before if before and swap else 2 * self.memory,
        }

    def _cpus(self, host: dict[str, Any]) -> dict[str, int]:
        """In whichever of the two ways it was said when the container was made: engines do not take the other one."""
        assert self.nano_cpus is not None
        if not self.nano_cpus:
            raise _not_taken_away("CPU", spec.cpus_text(cpus(host)))
        if (host.get("CpuQuota") or 0) > 0 and not host.get("NanoCpus"):
            period = host.get("CpuPeriod") or DEFAULT_PERIOD
            return {"CpuQuota": self.nano_cpus * period // BILLION}
        return {"NanoCpus": self.nano_cpus}


def limit(host: dict[str, Any], name: str) -> int:
    """0 for none, which engines say by 0, -1 or nothing."""
    value = host.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def policy_of(host: dict[str, Any]) -> dict[str, Any]:
    """The RestartPolicy it has, as `spec.restart_policy` writes it."""
    found = host.get("RestartPolicy")
    found = found if isinstance(found, dict) else {}
    retries = found.get("MaximumRetryCount")
    return {"Name": str(found.get("Name") or "no"), "MaximumRetryCount": retries if isinstance(retries, int) else 0}


def _not_taken_away(what: str, found: str) -> InvalidArgument:
    return InvalidArgument(
        f"Expected a {what} limit, found none: it has one of {found}, which no engine takes away from a container that "
        "is there.",
        "Give a higher one, or duplicate the container without it and remove this one.",
    )
