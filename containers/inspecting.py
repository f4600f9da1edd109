"""What only the host knows of a container: asked when somebody looks, with a short limit, never by a list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync

from containers.conditions import conditions
from containers.models import Container
from hosts.engine import EngineError, EngineProtocolError, EngineUnreachable, engine_for, explain

MASK = "••••••••"
SECONDS = 5.0


@dataclass(frozen=True)
class Inspection:
    """`data` is the engine's answer, `error` why there is none. `environment`: pairs, masked or not."""

    data: dict[str, Any]
    environment: list[tuple[str, str]]
    revealed: bool
    error: str = ""
    hint: str = ""

    @property
    def text(self) -> str:
        return json.dumps(self.data, indent=2, ensure_ascii=False)

    @property
    def conditions(self) -> list[tuple[str, str]]:
        return conditions(self.data)


def inspect_container(container: Container, *, reveal: bool) -> Inspection:
    """Ask the host. Never raises for a host that is away or slow: the answer says so."""
    if not container.host.is_connected:
        return Inspection({}, [], False, f"{container.host.name} is {container.host.get_state_display().lower()}.")
    try:
        data = async_to_sync(_fetch)(container)
    except (EngineError, EngineUnreachable, EngineProtocolError) as exc:
        message, hint = explain(exc, "container.inspect")
        return Inspection({}, [], False, message, hint)
    return _masked(_by_its_own_name(data, container), reveal)


def _by_its_own_name(data: dict[str, Any], container: Container) -> dict[str, Any]:
    """Without the other names of its image, which some engines tell: they may be nothing for whoever asks."""
    kept = {name: value for name, value in data.items() if name not in ("RepoTags", "RepoDigests")}
    return kept | ({"ImageName": container.image_ref} if "ImageName" in kept else {})


def _masked(data: dict[str, Any], reveal: bool) -> Inspection:
    """A host may say anything: what does not have the shape of an environment is left out, never shown as it is."""
    config = data.get("Config")
    if not isinstance(config, dict):
        return Inspection({**data, "Config": None}, [], reveal)
    entries = config.get("Env")
    pairs = [_pair(entry) for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    if not reveal:
        pairs = [(name, MASK) for name, _ in pairs]
    shown = {**config, "Env": [f"{name}={value}" for name, value in pairs]}
    return Inspection({**data, "Config": shown}, pairs, reveal)


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


async def _fetch(container: Container) -> dict[str, Any]:
    async with engine_for(container.host) as engine:
        data = await engine.get(f"/containers/{container.engine_id}/json", timeout=SECONDS)
    if not isinstance(data, dict):
        raise EngineProtocolError("Expected an object that describes the container, found something else.")
    return data
