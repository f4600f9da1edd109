"""Reading what a host says of itself, believing none of it further than its type and length."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

METRICS = ("cpu_percent", "memory_used", "memory_total", "disk_used", "disk_total", "uptime")


def text(value: object, limit: int) -> str:
    return value[:limit].replace("\x00", "") if isinstance(value, str) else ""


def number(value: object) -> int | None:
    """A count or size a database column can hold."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def engine_facts(version: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Fields of Host from the engine's /version and /info."""
    named = [version.get("Platform"), *(version.get("Components") or [])]
    names = [text(part.get("Name"), 60) for part in named if isinstance(part, dict)]
    return {
        "engine_kind": _kind(names),
        "engine_version": text(version.get("Version"), 60),
        "api_version": text(version.get("ApiVersion"), 20),
        "os": text(info.get("OperatingSystem"), 120),
        "arch": text(version.get("Arch"), 40),
        "kernel": text(version.get("KernelVersion") or info.get("KernelVersion"), 120),
        "cpus": number(info.get("NCPU")),
        "memory_total": number(info.get("MemTotal")),
    }


def _kind(names: list[str]) -> str:
    """Docker, unless the engine's platform or one of its components says otherwise."""
    for name in names:
        if "podman" in name.lower():
            return "podman"
        if "gantry" in name.lower():
            return "gantry"
    return "docker"


def _is_amount(value: object) -> bool:
    """Something a page can draw: neither infinite, nor no number at all (both are JSON to Python), nor beyond sense."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63


def agent_facts(said: dict[str, Any]) -> dict[str, Any]:
    """Fields of Host from the agent's /gantry/host."""
    metrics: dict[str, Any] = {"at": timezone.now().isoformat()}
    for key in METRICS:
        if _is_amount(said.get(key)):
            metrics[key] = said[key]
    load = said.get("load")
    if isinstance(load, list) and all(_is_amount(part) for part in load):
        metrics["load"] = load[:3]
    engine = said.get("engine")
    if isinstance(engine, dict):
        metrics["engine_socket"] = text(engine.get("socket"), 200)
    fields = {
        "metrics": metrics,
        "agent_version": text(said.get("agent_version"), 40),
        "os": text(said.get("os"), 120),
        "arch": text(said.get("arch"), 40),
        "kernel": text(said.get("kernel"), 120),
        "cpus": number(said.get("cpus")),
        "memory_total": number(said.get("memory_total")),
    }
    return {key: value for key, value in fields.items() if value not in ("", None)}
