"""Containers' root filesystems: mounted while somebody needs them, by the process or by a reader of its files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gantry_agent.engine.layers import overlay
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.store import Store

from .model import Container

RUN = "run"


class Roots:
    """Mounts, each with those who hold it. A run of a container is one holder, named RUN."""

    def __init__(self, layout: Layout, store: Store) -> None:
        self._layout = layout
        self._store = store
        self._holders: dict[str, set[object]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def merged(self, container: Container) -> Path:
        """Where its root is, while it is mounted."""
        return self._layout.container(container.id) / "merged"

    @asynccontextmanager
    async def view(self, container: Container) -> AsyncIterator[Path]:
        """Its root, mounted while inside. Raises Internal."""
        holder = object()
        await self.hold(container, holder)
        try:
            yield self.merged(container)
        finally:
            await asyncio.shield(self.drop(container, holder))

    async def hold(self, container: Container, holder: object = RUN) -> None:
        """Mount, unless it is already. Raises Internal."""
        async with self._lock(container):
            holders = self._holders.setdefault(container.id, set())
            if not holders:
                folder = self._layout.container(container.id)
                links = self._store.images.stack(container.image_id)
                await overlay.mount(
                    links, self._layout.links, folder / "upper", folder / "work", self.merged(container)
                )
            holders.add(holder)

    def take_back(self, container: Container) -> None:
        """It runs, and is mounted, since before this engine began."""
        self._holders[container.id] = {RUN}

    async def drop(self, container: Container, holder: object = RUN) -> None:
        """One holder less; after the last one it is unmounted. Raises Internal."""
        async with self._lock(container):
            holders = self._holders.get(container.id, set())
            holders.discard(holder)
            if not holders:
                self._holders.pop(container.id, None)
                await overlay.unmount(self.merged(container))

    async def forget(self, container: Container) -> None:
        """It is being removed: unmount, whoever holds it."""
        self._holders.pop(container.id, None)
        self._locks.pop(container.id, None)
        await overlay.unmount(self.merged(container))

    def _lock(self, container: Container) -> asyncio.Lock:
        return self._locks.setdefault(container.id, asyncio.Lock())
