"""A layer's tar becomes a layer of the store: unpacked, and kept compressed beside it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import zstandard
from isal import isal_zlib

from gantry_agent.engine.config import Config
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Corrupt
from gantry_agent.engine.layers.unpack import Limits, Unpacked, Unpacker
from gantry_agent.engine.oci import Descriptor, Digest, chain_ids
from gantry_agent.engine.oci.documents import DOCKER_LAYER_GZIP, OCI_LAYER_ZSTD
from gantry_agent.engine.store.blobs import BlobWriter

from .intake import Readable, compression_of, opened
from .tar import SpooledFile

CHUNK = 1 << 20  # bytes
LEVEL = 2  # of isal's 0 to 3: half a gigabyte a second, at about the size of gzip -1
Progress = Callable[[int, int], None]


def limits_of(config: Config) -> Limits:
    """What one layer may hold, as configured."""
    return Limits(size=config.max_layer_size, entries=config.max_layer_entries, ratio=config.max_layer_ratio)


async def add_layer(
    engine: Engine,
    file: SpooledFile,
    parent: Digest | None,
    expected: Digest | None,
    progress: Progress = lambda current, total: None,
) -> tuple[Digest, Descriptor]:
    """Add the layer in `file` on top of the chain `parent`; its diff id and its blob. Must be inside a lease.

    gzip and zstd are kept as they came; anything else is kept as gzip. `progress` hears of bytes read and to read.
    Raises Corrupt when its content does not have the diff id `expected`.
    """
    store = engine.store
    kind = compression_of(await asyncio.to_thread(_start, file.path))
    async with store.layers.stage() as staged:
        if kind in ("gzip", "zstd"):
            await store.blobs.adopt_file(file.path, file.digest)
            unpacked = await _unpack(engine, file.path, staged.folder, None, progress)
            media_type = DOCKER_LAYER_GZIP if kind == "gzip" else OCI_LAYER_ZSTD
            blob = Descriptor(media_type, file.digest, file.size)
        else:
            async with store.blobs.writer() as writer:
                unpacked = await _unpack(engine, file.path, staged.folder, writer, progress)
                blob = Descriptor(DOCKER_LAYER_GZIP, await writer.commit(), writer.received)
        diff_id = Digest.parse(unpacked.diff_id)
        if expected is not None and diff_id != expected:
            raise Corrupt(f"layer content does not match its diff id: got {diff_id}, want {expected}")
        chain = chain_ids([parent, diff_id] if parent else [diff_id])[-1]
        await staged.commit(chain, parent, diff_id, unpacked.size, unpacked.entries, blob)
    return diff_id, blob


async def _unpack(engine: Engine, path: Path, folder: Path, writer: BlobWriter | None, progress: Progress) -> Unpacked:
    """Feed the file to an unpacker, and compressed to the writer, if any."""
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, 31)
    file = await asyncio.to_thread(path.open, "rb")
    try:
        source: Readable = await asyncio.to_thread(opened, file) if writer else file
        total, current = path.stat().st_size, 0
        async with Unpacker(folder, limits_of(engine.config)) as unpacker:
            while chunk := await asyncio.to_thread(source.read, CHUNK):
                if writer:
                    await writer.write(await asyncio.to_thread(compressor.compress, chunk))
                await unpacker.write(chunk)
                current += len(chunk)
                progress(min(current, total), total)
            if writer:
                await writer.write(compressor.flush())
            return await unpacker.finish()
    finally:
        file.close()


def plain_size(path: Path) -> int:
    """The length in bytes of a zstd blob's content. Blocks."""
    size = 0
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        buffer = bytearray(CHUNK)
        while count := reader.readinto(buffer):
            size += count
    return size


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(6)
