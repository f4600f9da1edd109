"""The engine as one object: every part, made in order, opened and closed together."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

from .builder.cache import SCHEMA as BUILDER_SCHEMA
from .builder.caches import Caches
from .config import Config
from .containers.following import Following
from .containers.manager import Containers
from .containers.roster import SCHEMA as CONTAINERS_SCHEMA
from .courtesy import Courtesy
from .database import Database
from .events import Events
from .identity import SCHEMA as IDENTITY_SCHEMA
from .layout import Layout
from .networks import SCHEMA as NETWORKS_SCHEMA
from .networks import Networks
from .registry import Registry, Transfers
from .store import SCHEMA as STORE_SCHEMA
from .store import Store
from .volumes import SCHEMA as VOLUMES_SCHEMA
from .volumes import Volumes

log = logging.getLogger(__name__)


class Engine:
    """The parts of a running engine; `open` before use, `close` after. Containers live on when it closes."""

    def __init__(self, layout: Layout, config: Config) -> None:
        self.layout = layout
        self.config = config
        self.events = Events()
        layout.make()
        self.database = Database(
            layout.database,
            schema=(
                *IDENTITY_SCHEMA,
                *STORE_SCHEMA,
                *NETWORKS_SCHEMA,
                *VOLUMES_SCHEMA,
                *CONTAINERS_SCHEMA,
                *BUILDER_SCHEMA,
            ),
        )
        self.store = Store(layout, self.database)
        self.registry = Registry(config)
        self.transfers = Transfers(config)
        self.courtesy = Courtesy()
        self.networks = Networks(layout, config, self.database, self.events)
        self.volumes = Volumes(layout, self.database, self.events)
        self.containers = Containers(self)
        self.caches = Caches(layout.caches)
        self.following = Following(self)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Sweep what a killed engine left, take back the running containers, start the background work."""
        await self.store.open()
        await self.containers.open()
        await self.volumes.open(self.containers.all())
        await self.networks.open([each for each in self.containers.all() if each.is_running])
        await self.containers.resume()
        await self.following.open()

    async def close(self) -> None:
        """Stop the background work and close the store."""
        await self.following.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.containers.close()
        await self.networks.close()
        await self.registry.close()
        await self.store.close()
        self.database.close()
        self.containers.leave()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` until it ends or the engine closes; a failure is logged, never lost."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                log.error("%s failed", task.get_name(), exc_info=error)
