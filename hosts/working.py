"""What every kind of operation on a host needs: its engine, and the engine's errors in plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.lib.errors import GantryError, Unavailable
from controlplane.operations.runner import Work
from hosts.engine import (
    Engine,
    EngineError,
    EngineProtocolError,
    EngineUnreachable,
    engine_for,
    explain,
)
from hosts.models import Host


@asynccontextmanager
async def engine_of(work: Work) -> AsyncIterator[Engine]:
    """The engine of the operation's host.

    Raises Unavailable when the host is not connected, and what the engine refuses as a GantryError that says
    what to do.
    """
    host: Host | None = work.host
    if host is None:
        raise Unavailable(f"The host {work.operation.host_name} has been removed.")
    if not host.tunnel_up:
        raise Unavailable(
            f"{host.name} is not connected: {host.state_reason or host.get_state_display().lower()}.",
            "Retry when it is back; the hosts page says since when it is away.",
        )
    try:
        async with engine_for(host) as engine:
            yield engine
    except (EngineError, EngineUnreachable, EngineProtocolError) as exc:
        message, hint = explain(exc, work.operation.kind)
        raise GantryError(message, hint) from exc
