"""Unpacked layers: layers/CHAIN/diff, named by the chain id, shared by every image whose stack begins the same way.

A layer's row is written last and deleted first, so a folder without a row is a leftover.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import NotFound
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Descriptor, Digest

from . import files
from .lease import Leases

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS layers (
        chain TEXT PRIMARY KEY,
        parent TEXT,
        diff_id TEXT NOT NULL,
        size INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        blob TEXT NOT NULL,
        blob_size INTEGER NOT NULL,
        media_type TEXT NOT NULL
    ) STRICT""",
)
SHORT = 26  # characters of a link's name


@dataclass(frozen=True)
class Layer:
    """One layer. `size`: bytes of its files; `entries`: files and folders; `blob`: the compressed tar it came as."""

    chain: Digest
    parent: Digest | None
    diff_id: Digest
    size: int
    entries: int
    blob: Descriptor


class Layers:
    """The layers of one store."""

    def __init__(self, layout: Layout, database: Database, leases: Leases, changes: asyncio.Lock) -> None:
        self._layout = layout
        self._database = database
        self._leases = leases
        self._changes = changes
        self._syncs = GroupSync(layout.tmp)
        self.going: set[Digest] = set()
        """Chain ids whose removal is under way: not there any more for who asks."""

    def has(self, chain: Digest) -> bool:
        """Whether it is here. Inside a lease it then stays."""
        self._leases.pin(chain)
        return chain not in self.going and bool(self._database.read("SELECT 1 FROM layers WHERE chain = ?", chain))

    def get(self, chain: Digest) -> Layer:
        """Raises NotFound."""
        rows = self._database.read("SELECT * FROM layers WHERE chain = ?", chain)
        if not rows:
            raise NotFound(f"layer {chain} is not in the store")
        return _layer(rows[0])

    def all(self) -> list[Layer]:
        """Every layer."""
        return [_layer(row) for row in self._database.read("SELECT * FROM layers")]

    def diff(self, chain: Digest) -> Path:
        """The folder of its files; read-only."""
        return self._layout.layers / Digest.parse(chain).hex / "diff"

    def link(self, chain: Digest) -> str:
        """Its short name below `layout.links`."""
        return short_name(chain)

    @asynccontextmanager
    async def stage(self) -> AsyncIterator["StagedLayer"]:
        """An empty folder to unpack a layer into; what is not committed is deleted."""
        staged = StagedLayer(self, files.temporary(self._layout.tmp, "layer"))
        staged.make()
        try:
            yield staged
        finally:
            await asyncio.shield(staged.discard())

    async def commit(self, staged: "StagedLayer", layer: Layer) -> None:
        """What `StagedLayer.commit` does; not to be cancelled."""
        self._leases.pin(layer.chain, is_new=True)
        await self._syncs.sync()
        async with self._changes:
            if self.has(layer.chain):
                return  # somebody else brought the same layer meanwhile
            with files.explained("storing a layer"):
                await asyncio.to_thread(self._place, staged.top, layer.chain)
            await self._database.write(lambda connection: _insert(connection, layer), durable=True)

    def _place(self, top: Path, chain: Digest) -> None:
        final = self._layout.layers / chain.hex
        if final.exists():  # of a removal or an addition that was cut off before its row
            files.move(final, files.temporary(self._layout.tmp, "gone"))
        files.move(top, final)
        files.link(f"../layers/{chain.hex}/diff", self._layout.links / short_name(chain))
        files.sync_folder(self._layout.layers)
        files.sync_folder(self._layout.links)


class StagedLayer:
    """A layer that is being unpacked, in `folder`. Made by `Layers.stage`."""

    def __init__(self, layers: Layers, top: Path) -> None:
        self._layers = layers
        self.top = top
        self.folder = top / "diff"
        self._committing: asyncio.Future[None] | None = None

    def make(self) -> None:
        """Create the empty folder."""
        with files.explained("storing a layer"):
            self.top.mkdir(mode=0o711)
            self.folder.mkdir(mode=0o755)

    def take(self, folder: Path) -> None:
        """Have a folder on the same filesystem instead of the empty one. Blocks."""
        with files.explained("storing a layer"):
            self.folder.rmdir()
            files.move(folder, self.folder)
            self.folder.chmod(0o755)

    async def commit(
        self, chain: Digest, parent: Digest | None, diff_id: Digest, size: int, entries: int, blob: Descriptor
    ) -> None:
        """Make it durable and known as `chain`. The blob must be in the store already."""
        layer = Layer(Digest.parse(chain), parent, Digest.parse(diff_id), size, entries, blob)
        self._committing = asyncio.ensure_future(self._layers.commit(self, layer))
        await asyncio.shield(self._committing)

    async def discard(self) -> None:
        """Delete what was not committed. A commit that has begun ends first: it must not be deleted under way."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        if self.top.exists():
            await asyncio.to_thread(files.remove_tree, self.top)


class GroupSync:
    """One syncfs serves all who asked before it began: layers unpacked side by side pay once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = asyncio.Lock()
        self._asked = 0
        self._done = 0

    async def sync(self) -> None:
        """Return once everything written before this call is on the disk."""
        self._asked += 1
        mine = self._asked
        async with self._running:
            if self._done >= mine:
                return
            covers = self._asked
            with files.explained("syncing layers to the disk"):
                await asyncio.to_thread(files.sync_filesystem, self._folder)
            self._done = covers


def short_name(chain: Digest) -> str:
    """A name short enough that hundreds fit on a page, still without chance of collision (104 bits)."""
    return hashlib.sha256(chain.encode()).hexdigest()[:SHORT]


def _insert(connection: sqlite3.Connection, layer: Layer) -> None:
    connection.execute(
        "INSERT INTO layers (chain, parent, diff_id, size, entries, blob, blob_size, media_type)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            layer.chain,
            layer.parent,
            layer.diff_id,
            layer.size,
            layer.entries,
            layer.blob.digest,
            layer.blob.size,
            layer.blob.media_type,
        ),
    )


def _layer(row: sqlite3.Row) -> Layer:
    return Layer(
        Digest(row["chain"]),
        Digest(row["parent"]) if row["parent"] else None,
        Digest(row["diff_id"]),
        row["size"],
        row["entries"],
        Descriptor(row["media_type"], Digest(row["blob"]), row["blob_size"]),
    )
