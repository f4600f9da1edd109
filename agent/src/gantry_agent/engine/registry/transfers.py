"""How many layers travel at once, over all pulls and pushes; and one fetch of a layer at a time."""

import asyncio
from weakref import WeakValueDictionary

from gantry_agent.engine.config import Config


class Transfers:
    """The engine's places for downloads and uploads."""

    def __init__(self, config: Config) -> None:
        self.downloads = asyncio.Semaphore(config.max_concurrent_downloads)
        self.uploads = asyncio.Semaphore(config.max_concurrent_uploads)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, name: str) -> asyncio.Lock:
        """The lock of a layer (by chain id): who comes second finds it there, and fetches nothing."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
