"""What was agreed for a container when it was made, in words: from the engine's inspect, believed no further
than its types.
"""

from __future__ import annotations

import shlex
from typing import Any

from controlplane.lib.templatetags.gantry import memory

RESTARTS = {
    "no": "no: it stays ended",
    "": "no: it stays ended",
    "always": "always",
    "unless-stopped": "unless somebody stops it",
    "on-failure": "when it fails",
}
LONGEST = 500


def conditions(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a word and what holds; what an engine leaves out is left out, save limits that are not there."""
    agreed, config = _object(data.get("HostConfig")), _object(data.get("Config"))
    pairs = [
        ("Restart", _restart(_object(agreed.get("RestartPolicy")))),
        ("Memory limit", memory(limit) if (limit := _count(agreed.get("Memory"))) else "none"),
        ("CPU limit", _cpus(agreed)),
        ("Entrypoint", _words(config.get("Entrypoint"))),
        ("Working directory", _text(config.get("WorkingDir"))),
        ("User", _text(config.get("User"))),
        ("When it ends", "it is removed" if agreed.get("AutoRemove") is True else ""),
        ("Rights", "privileged: all of the host’s" if agreed.get("Privileged") is True else ""),
        ("File system", "read-only" if agreed.get("ReadonlyRootfs") is True else ""),
        ("Killed", "for want of memory" if _object(data.get("State")).get("OOMKilled") is True else ""),
    ]
    return [(name, words) for name, words in pairs if words]


def _restart(policy: dict[str, Any]) -> str:
    name, most = _text(policy.get("Name")), _count(policy.get("MaximumRetryCount"))
    words = RESTARTS.get(name, name)
    return f"{words}, at most {most} times" if name == "on-failure" and most else words


def _cpus(agreed: dict[str, Any]) -> str:
    """NanoCpus, or the older pair of quota and period (in µs)."""
    cores = _count(agreed.get("NanoCpus")) / 1e9
    if not cores and (period := _count(agreed.get("CpuPeriod"))):
        cores = _count(agreed.get("CpuQuota")) / period
    return f"{cores:g} core{'' if cores == 1 else 's'}" if cores else "none"


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else 0


def _text(value: object) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""


def _words(value: object) -> str:
    """A list of arguments, or Podman's one string, as one would type it."""
    if isinstance(value, list):
        return shlex.join(word for word in value if isinstance(word, str))[:LONGEST]
    return _text(value)
