"""The folders of RUN --mount=type=cache: what a step left there, the next build finds."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

LOCKED, PRIVATE = "locked", "private"


class Caches:
    """The folders of cache mounts, by tenant and id; who uses one now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def use(self, tenant: str, name: str, sharing: str) -> AsyncIterator[Path]:
        """A cache's folder. `locked` waits until nobody else uses it, `private` takes another meanwhile."""
        key = hashlib.sha256(f"{tenant}\0{name}".encode()).hexdigest()
        number = 0
        while sharing == PRIVATE and self._users.get(f"{key}-{number}"):
            number += 1
        place = f"{key}-{number}"
        lock = self._locks.setdefault(place, asyncio.Lock()) if sharing == LOCKED else None
        async with AsyncExitStack() as stack:
            if lock:
                await stack.enter_async_context(lock)
            self._users[place] = self._users.get(place, 0) + 1
            try:
                yield self.folder / place
            finally:
                self._users[place] -= 1

    def unused(self) -> list[Path]:
        """Those nobody works with now. Blocks."""
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if not self._users.get(path.name)]
