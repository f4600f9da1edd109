"""A store without an engine around it, and images made by hand."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantry_agent.engine.config import Config
from gantry_agent.engine.database import Database
from gantry_agent.engine.events import Events
from gantry_agent.engine.images.load import load
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Descriptor, Digest, chain_ids
from gantry_agent.engine.oci.documents import DOCKER_LAYER_GZIP
from gantry_agent.engine.store import SCHEMA, Store
from gantry_agent.engine.store.checks import leftovers


@dataclass
class User:
    """What the store sees of a container."""

    id: str
    image: str
    is_running: bool = False


@dataclass
class StoreOnly:
    """As much of an engine as images need."""

    layout: Layout
    database: Database
    store: Store
    config: Config = field(default_factory=Config)
    events: Events = field(default_factory=Events)
    users: list[User] = field(default_factory=list)


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[Any]:
    """A store below `root`, opened as the engine opens it; `users` are its containers."""
    layout = Layout.at(root / "root", root / "run")
    layout.make()
    database = Database(layout.database, SCHEMA)
    engine = StoreOnly(layout, database, Store(layout, database))
    engine.store.used_by = lambda image_id: [user for user in engine.users if user.image == image_id]
    try:
        await engine.store.open()
        yield engine
    finally:
        await engine.store.close()
        database.close()


def layer_bytes(name: str) -> bytes:
    """The content that stands for the layer `name` in blob and folder."""
    return f"layer {name}\n".encode() * 10


def configuration(stack: Sequence[str], **config: Any) -> bytes:
    """An image's configuration of layers made by `add_layers`."""
    diff_ids = [Digest.of(layer_bytes(name)) for name in stack]
    return json.dumps(
        {"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()


async def add_image(store: Store, stack: Sequence[str], **config: Any) -> Digest:
    """An image of these layers, made as a pull makes it; its id."""
    async with store.lease():
        diff_ids = [Digest.of(layer_bytes(name)) for name in stack]
        chains = chain_ids(diff_ids)
        descriptors = []
        for position, (name, diff_id, chain) in enumerate(zip(stack, diff_ids, chains, strict=True)):
            descriptors.append(Descriptor(DOCKER_LAYER_GZIP, diff_id, len(layer_bytes(name))))
            if store.layers.has(chain):
                continue
            blob = await store.blobs.put(layer_bytes(name))
            assert blob == diff_id
            async with store.layers.stage() as staged:
                (staged.folder / name).write_bytes(layer_bytes(name))
                parent = chains[position - 1] if position else None
                await staged.commit(chain, parent, diff_id, len(layer_bytes(name)), 1, descriptors[-1])
        return await store.images.add(configuration(stack, **config), descriptors)


async def put(engine: Any, archive: bytes) -> None:
    """Load an archive."""

    async def source() -> Any:
        for start in range(0, len(archive), 1 << 20):
            yield archive[start : start + (1 << 20)]

    await load(engine, source(), Progress())


def contents(layout: Layout) -> dict[str, set[str]]:
    """What lies on the disk: blobs, layers, links, temporary files."""
    return {
        "blobs": {path.name for path in layout.blobs.iterdir()},
        "layers": {path.name for path in layout.layers.iterdir()},
        "links": {path.name for path in layout.links.iterdir()},
        "leftovers": set(leftovers(layout)),
    }
