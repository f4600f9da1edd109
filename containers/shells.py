"""Whether rules of the environment allow a shell in a container: asked of the host before one is opened."""

from __future__ import annotations

from containers.models import Container
from containers.running import standing_violations
from containers.terminals import HostAway, TerminalError
from controlplane.lib.threads import in_thread
from hosts.engine import EngineError, EngineProtocolError, EngineUnreachable, engine_for, explain
from hosts.rules.errors import refuse


async def require_shell(container: Container, user: str) -> None:
    """Raise RulesBroken when they allow `user` (empty: the container's own) none; HostAway, TerminalError."""
    host = container.host
    try:
        async with engine_for(host) as engine:
            found = await standing_violations(host, engine, container.engine_id, shell_as=user)
    except (EngineUnreachable, EngineProtocolError) as exc:
        raise HostAway(f"{host.name} does not answer.", "It is tried again by itself.", 503) from exc
    except EngineError as exc:
        raise TerminalError(*explain(exc, "container.exec")) from exc
    await in_thread(refuse, "container.exec", host, found, f"a shell in {container.name}")
