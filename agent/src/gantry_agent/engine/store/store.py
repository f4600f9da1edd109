"""The store as one object: blobs, layers, images, and the collection of what nothing uses."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gantry_agent.engine.database import Database
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Digest

from . import files, images, layers, sweep
from .blobs import Blobs
from .checks import check
from .images import Images
from .layers import Layer, Layers
from .lease import Leases
from .whole import whole

log = logging.getLogger(__name__)

SCHEMA: tuple[str, ...] = (*layers.SCHEMA, *images.SCHEMA)
BATCH = 64  # renames between two turns of the event loop


class User(Protocol):
    """What the store needs to know of a container."""

    @property
    def id(self) -> str: ...

    @property
    def is_running(self) -> bool: ...


@dataclass
class Freed:
    """What a collection took away: layers, highest first, and bytes of them and of blobs."""

    layers: list[Layer] = field(default_factory=list)
    blob_bytes: int = 0

    @property
    def layer_bytes(self) -> int:
        return sum(layer.size for layer in self.layers)


class Store:
    """Images, layers and blobs below one root."""

    def __init__(self, layout: Layout, database: Database) -> None:
        self.layout = layout
        self.database = database
        self._leases = Leases()
        self._changes = asyncio.Lock()
        self.blobs = Blobs(layout, self._leases)
        self.layers = Layers(layout, database, self._leases, self._changes)
        self.images = Images(database, self.blobs, self.layers, self._leases, self._changes)
        self.used_by: Callable[[str], Sequence[User]] | None = None
        """The containers made from an image id, stopped ones too; set by who owns containers."""
        self._owes_collection = False
        """A collection had to leave something that a lease held."""
        self._deletions: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Clear what a killed engine left, and read the images."""
        await self.sweep()
        self.images.load()
        await self.collect(keep_hidden=True)  # the containers are not known yet

    async def close(self) -> None:
        """Wait for deletions under way."""
        await asyncio.gather(*self._deletions, return_exceptions=True)

    async def sweep(self) -> None:
        """Before anything else is begun: delete temporary files, and layers that have no row."""
        rows = [layer.chain for layer in self.layers.all()]
        self._delete(await asyncio.to_thread(sweep.sweep, self.layout, rows))

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        """What is added, or found to be there, inside this block is not collected until it ends.

        Then what it brought and nothing uses goes, and what a removal meanwhile had to leave.
        """
        try:
            with self._leases.hold() as lease:
                yield
        finally:
            if lease.has_additions or self._owes_collection:
                await self.collect()

    @whole
    async def collect(self, *, keep_hidden: bool = False) -> Freed:
        """Free what no image, container or lease uses. `keep_hidden` leaves images that lost their names."""
        freed = Freed()
        async with self._changes:
            self._owes_collection = False
            if not keep_hidden:
                await self._forget_images()
            gone, freed.layers = await self._drop_layers()
            blobs, freed.blob_bytes = await self._drop_blobs()
        self._delete([*gone, *blobs])
        return freed

    async def check(self) -> list[str]:
        """What is damaged, one sentence each; empty when all is well. Reads every blob."""
        return await asyncio.to_thread(check, self.layout)

    async def _forget_images(self) -> None:
        pinned = self._leases.pinned
        unused = {image.id for image in self.images.hidden() if not (self.used_by and self.used_by(image.id))}
        self._owes_collection |= bool(unused & pinned)
        if unused - pinned:
            await self.images.forget(sorted(unused - pinned))

    async def _drop_layers(self) -> tuple[list[Path], list[Layer]]:
        """Delete the rows of unused layers, take their folders away; where those are now, and the layers."""
        used = {row["chain"] for row in self.database.read("SELECT DISTINCT chain FROM image_layers")}
        unused = {layer.chain: layer for layer in self.layers.all() if layer.chain not in used}
        for pinned in self._leases.pinned:
            self._owes_collection |= unused.pop(Digest(pinned), None) is not None
        if not unused:
            return [], []
        self.layers.going.update(unused)

        def delete(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM layers WHERE chain = ?", [(chain,) for chain in unused])

        try:
            await self.database.write(delete, durable=True)
            gone = await asyncio.to_thread(self._take_folders, list(unused))
        finally:
            self.layers.going.difference_update(unused)
        return gone, sweep.highest_first(list(unused.values()))

    def _take_folders(self, chains: list[Digest]) -> list[Path]:
        gone = []
        for chain in chains:
            files.remove(self.layout.links / self.layers.link(chain))
            target = files.temporary(self.layout.tmp, "gone")
            files.move(self.layout.layers / chain.hex, target)
            gone.append(target)
        return gone

    async def _drop_blobs(self) -> tuple[list[Path], int]:
        """Take unused blobs away. A rename in the event loop: nobody can find one between the look and the act."""
        names = await asyncio.to_thread(os.listdir, self.layout.blobs)
        used = sweep.blobs_in_use(self.database)
        gone, size = [], 0
        for start in range(0, len(names), BATCH):
            pinned = self._leases.pinned
            for name in names[start : start + BATCH]:
                digest = f"sha256:{name}"
                if digest not in used and digest in pinned:
                    self._owes_collection = True
                elif digest not in used:
                    target = files.temporary(self.layout.tmp, "gone")
                    path = self.layout.blobs / name
                    size += path.stat().st_size
                    files.move(path, target)
                    gone.append(target)
            await asyncio.sleep(0)
        return gone, size

    def discard(self, folder: Path) -> None:
        """Have a folder below tmp/ deleted, which nobody uses any more: whoever was served from it need not wait."""
        self._delete([folder])

    def _delete(self, paths: Sequence[Path]) -> None:
        """Delete what was moved away, in the background; what is left when the engine dies the next sweep finds."""
        if not paths:
            return
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(self._delete_now, paths), name="deletion")
        self._deletions.add(task)
        task.add_done_callback(self._deletions.discard)

    def _delete_now(self, paths: Sequence[Path]) -> None:
        sweep.delete(paths)
        self.database.keep_reserve()
