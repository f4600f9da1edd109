"""What a build request asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gantry_agent.engine.oci import Platform, Reference
from gantry_agent.engine.registry.credentials import Credentials

DOCKERFILE = "Dockerfile"


@dataclass(frozen=True)
class BuildOptions:
    """The query and headers of POST /build, checked."""

    names: Sequence[Reference] = ()
    dockerfile: str = DOCKERFILE
    """Its path in the context."""
    remote: str = ""
    target: str = ""
    args: Mapping[str, str | None] = field(default_factory=dict)
    """None: named without a value, which leaves a default as it is."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cache_from: Sequence[str] = ()
    tenant: str = ""
    """Whose cache is used and filled: nobody sees another tenant's."""
    uses_cache: bool = True
    pulls: bool = False
    keeps_containers: bool = False
    """rm=0: leave the containers of RUN, those that failed too; else none is left, as `forcerm` asks of Docker."""
    is_quiet: bool = False
    platform: Platform | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Fields of HostConfig for RUN: Memory, CpuShares, ShmSize, NetworkMode, ExtraHosts, Ulimits, …"""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """By id, for RUN --mount=type=secret."""
    credentials: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    """By registry, as clients write it."""
