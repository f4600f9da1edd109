"""The writable layer of a build step becomes a layer of the store: packed once, and then moved instead of unpacked."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from isal import isal_zlib

from gantry_agent.engine.core import Engine
from gantry_agent.engine.layers.child import Child
from gantry_agent.engine.layers.pack import Packed, View, pack_diff
from gantry_agent.engine.layers.unpack import Unpacker
from gantry_agent.engine.oci import Descriptor, Digest, chain_ids
from gantry_agent.engine.oci.documents import DOCKER_LAYER_GZIP
from gantry_agent.engine.store.layers import StagedLayer

from .layer import LEVEL, limits_of

CHUNK = 1 << 20  # bytes
GZIP = 31  # window bits that say: with gzip's header


async def adopt(
    engine: Engine,
    upper: Path,
    lowers: View,
    parent: Digest | None,
    *,
    stubs: Sequence[str] = (),
    latest: int | None = None,
) -> tuple[Digest, Descriptor] | None:
    """Make the overlay folder `upper`, which nobody has mounted any more, a layer on top of the chain `parent`: its
    diff id and its blob. None when nothing was changed. Must be inside a lease.

    What a tar cannot hold (sockets, some attributes) is not in the layer. `stubs`: paths that were made for a mount to
    lie on, which are no change. `latest`: the newest time a file may have, in seconds. Raises Internal.
    """
    if stubs:
        await clear_stubs(upper, lowers, stubs)
    if not await asyncio.to_thread(_has_changes, upper):
        return None
    packed, plain = Packed(), hashlib.sha256()
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP)

    def work(chunk: bytes) -> bytes:
        plain.update(chunk)
        found: bytes = compressor.compress(chunk)
        return found

    async with engine.store.layers.stage() as staged:
        async with engine.store.blobs.writer() as writer, aclosing(pack_diff(upper, lowers, packed, latest)) as chunks:
            async for chunk in chunks:
                await writer.write(await asyncio.to_thread(work, chunk))
            await writer.write(compressor.flush())
            blob = Descriptor(DOCKER_LAYER_GZIP, await writer.commit(), writer.received)
        diff_id = Digest("sha256:" + plain.hexdigest())
        if packed.is_exact:
            await asyncio.to_thread(staged.take, upper)
        else:
            await _unpack(engine, staged, engine.store.blobs.path(blob.digest))
        chain = chain_ids([parent, diff_id] if parent else [diff_id])[-1]
        await staged.commit(chain, parent, diff_id, packed.size, packed.entries, blob)
    return diff_id, blob


async def clear_stubs(upper: Path, lowers: View, stubs: Sequence[str]) -> None:
    """Take away empty files and folders that were made for mounts, with what was made above them."""
    job = {"do": "clear-stubs", "upper": str(upper), "lowers": lowers, "paths": list(stubs)}
    async with Child(job) as child:
        await child.finish()


async def _unpack(engine: Engine, staged: StagedLayer, blob: Path) -> None:
    file = await asyncio.to_thread(blob.open, "rb")
    try:
        async with Unpacker(staged.folder, limits_of(engine.config)) as unpacker:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                await unpacker.write(chunk)
            await unpacker.finish()
    finally:
        file.close()


def _has_changes(upper: Path) -> bool:
    return next(upper.iterdir(), None) is not None
