"""Rules in words, for pages and for the audit trail."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hosts.rules.rules import Rules

NAMES = {
    "images": "images",
    "for_bases": "base images of builds too",
    "no_privileged": "no privileged containers",
    "own_namespaces": "no namespaces of the host",
    "binds": "folders of the host below",
    "plain_volumes": "plain volumes alone",
    "capabilities": "capabilities that may be added",
    "no_devices": "no devices",
    "confined": "no loosened confinement",
    "safe_sysctls": "safe sysctls alone",
    "plain_runtime": "the engine’s own runtime and control groups",
    "memory": "bytes of memory at most",
    "nano_cpus": "billionths of a CPU at most",
    "pids": "processes at most",
    "read_only_root": "a read-only root",
    "not_root": "no root user",
}
"""Each rule, as its differences are written down."""


def differences(before: Rules, after: Rules) -> list[str]:
    """One text for each rule that is another now: “no privileged containers: no → yes”."""
    return [
        f"{NAMES[each.name]}: {_shown(old or _empty(each.name, old))} → {_shown(new or _empty(each.name, new))}"
        for each in fields(Rules)
        if (old := getattr(before, each.name)) != (new := getattr(after, each.name))
    ]


def _empty(name: str, value: Any) -> Any:
    """No list of images leaves all of them; an empty list of folders leaves none."""
    return None if name == "images" else value


def _shown(value: Any) -> str:
    if value is None or value == 0:
        return "no" if value is False else "any"
    if value is True:
        return "yes"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
