"""A host's engine, and the agent's own API beside it: both on unix sockets that the gateway keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosts.engine.client import Engine, segment
from hosts.engine.errors import (
    EngineConflict,
    EngineError,
    EngineNotFound,
    EngineNotModified,
    EngineProtocolError,
    EngineTimeout,
    EngineUnreachable,
    raise_for_message,
)
from hosts.engine.explain import explain
from hosts.engine.frames import STDERR, STDOUT, Demultiplexer, demultiplex
from hosts.engine.hijack import HijackedStream

if TYPE_CHECKING:
    from hosts.models import Host

__all__ = [
    "STDERR",
    "STDOUT",
    "Demultiplexer",
    "Engine",
    "EngineConflict",
    "EngineError",
    "EngineNotFound",
    "EngineNotModified",
    "EngineProtocolError",
    "EngineTimeout",
    "EngineUnreachable",
    "HijackedStream",
    "agent_for",
    "demultiplex",
    "engine_for",
    "explain",
    "raise_for_message",
    "segment",
]


def engine_for(host: Host) -> Engine:
    """A client of the host's engine: ``async with engine_for(host) as engine``."""
    return Engine(host.engine_socket)


def agent_for(host: Host) -> Engine:
    """A client of the host's agent itself (paths under /gantry/): same protocol, same limits, same errors."""
    return Engine(host.agent_socket)
