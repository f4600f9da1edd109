"""The seam between the gateway and whoever knows the hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Directory(Protocol):
    """What the gateway asks and tells. Every call may be slow or fail: none is made while bytes wait.

    Host ids are texts. Failures are raised as OSError, and are tried again by the caller.
    """

    async def public_key(self, host: str) -> str:
        """The host's public key; "" when there is no such host or it has not enrolled."""

    async def public_keys(self, hosts: Iterable[str]) -> dict[str, str]:
        """The keys of those hosts that still exist."""

    async def wanted_rotations(self, hosts: Iterable[str]) -> list[str]:
        """Those of the hosts that somebody has asked to make a new key."""

    async def store_key(self, host: str, old: str, new: str) -> bool:
        """Replace `old` by `new`; False when `old` is no longer the key."""

    async def connected(self, host: str, agent_version: str) -> None:
        """The host's agent is connected and its sockets are there."""

    async def disconnected(self, host: str, reason: str) -> None:
        """The host's sockets are gone."""

    async def seen(self, hosts: Iterable[str]) -> None:
        """These hosts were heard of in the last seconds."""

    async def lost(self, present: Iterable[str]) -> None:
        """Hosts that are noted as connected although no gateway has seen them for a while: note it."""
