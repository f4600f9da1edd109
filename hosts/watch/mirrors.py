"""What is mirrored of a host. The apps above register their tables here; `watch` knows none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from hosts.engine import Engine
from hosts.models import Host

Event = dict[str, Any]

# A host's whole list may be this large; more is not believed. 5,000 containers take about 10 MB.
LIST_LIMIT = 32 * 1024 * 1024
LIST_SECONDS = 30.0


class Mirror(Protocol):
    """One table that follows one kind of thing on a host."""

    name: str

    def wants(self, event: Event) -> bool:
        """Whether an event may have changed something of this kind."""

    async def refresh(self, engine: Engine, host: Host) -> None:
        """Make the host's rows equal to the engine's full list."""

    async def apply(self, engine: Engine, host: Host, events: Sequence[Event]) -> None:
        """Bring up to date what `events` (all wanted, in order) have touched."""


_mirrors: list[Mirror] = []


def register(mirror: Mirror) -> None:
    _mirrors.append(mirror)


def registered() -> Sequence[Mirror]:
    return tuple(_mirrors)
