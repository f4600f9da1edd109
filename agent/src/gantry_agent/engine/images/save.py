"""`docker save`: an OCI layout that Docker's older readers take too (manifest.json beside index.json).

Compressed layers go out as they are stored, so what is loaded elsewhere has the same manifest. zstd, which older
engines cannot read, is there for index.json and once more plain for manifest.json.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Corrupt
from gantry_agent.engine.oci import Digest, Reference
from gantry_agent.engine.oci.documents import OCI_INDEX
from gantry_agent.engine.store import Image

from .announce import announce
from .layer import plain_size
from .manifests import is_zstd, manifest_for
from .moments import created_at
from .tar import END, header, padding

CHUNK = 1 << 20  # bytes
FOLDER = "blobs/sha256"


@dataclass
class Chosen:
    """An image to save, with the names to save it by."""

    image: Image
    names: list[Reference] = field(default_factory=list)


def choose(engine: Engine, names: Sequence[str]) -> list[Chosen]:
    """The images that `names` mean, each once. A name without a tag means every tag of its repository, as Docker's.

    Raises NotFound, InvalidArgument.
    """
    found: dict[str, Chosen] = {}
    for name in names:
        for image, reference in _meant(engine, name):
            chosen = found.setdefault(image.id, Chosen(image))
            if reference and reference not in chosen.names:
                chosen.names.append(reference)
    return list(found.values())


def _meant(engine: Engine, name: str) -> list[tuple[Image, Reference | None]]:
    images = engine.store.images
    last = name.rpartition("/")[2]
    if ":" not in last and "@" not in name and len(name) < 64:
        repository = Reference.parse(name).name
        all_tags: list[tuple[Image, Reference | None]] = [
            (image, tag) for image in images.all() for tag in image.tags if tag.name == repository
        ]
        if all_tags:
            return all_tags
    image = images.get(name)
    tags = [tag for tag in image.tags if name in (tag.familiar, str(tag)) or tag == _reference(name)]
    return [(image, tags[0] if tags else None)]


def _reference(name: str) -> Reference | None:
    return Reference.parse(name) if len(name) < 64 or ":" in name[:64].rpartition("/")[2] else None


async def save(engine: Engine, chosen: Sequence[Chosen]) -> AsyncIterator[bytes]:
    """The archive, piece by piece. The images stay while it is read."""
    async with engine.store.lease():
        plan = await asyncio.to_thread(_plan, engine, chosen)
        written: set[str] = set()
        for entry in plan:
            if entry.name in written:
                continue
            written.add(entry.name)
            yield header(entry.name, entry.size, entry.mtime)
            async for chunk in entry.chunks():
                yield chunk
            yield padding(entry.size)
        yield END
    for each in chosen:
        announce(engine, "save", each.image)


@dataclass
class Entry:
    """A file of the archive: content in memory, or in a file, which may have to be decompressed."""

    name: str
    size: int
    content: bytes | None = None
    path: Path | None = None
    is_zstd: bool = False
    mtime: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content. Raises Corrupt when the file has another length now."""
        if self.content is not None:
            yield self.content
            return
        assert self.path
        file = await asyncio.to_thread(self.path.open, "rb")
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) if self.is_zstd else file
            left = self.size
            while left and (chunk := await asyncio.to_thread(reader.read, min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
            if left:
                raise Corrupt(f"{self.path.name} is {left} bytes shorter than it should be")
        finally:
            file.close()


def _plan(engine: Engine, chosen: Sequence[Chosen]) -> list[Entry]:
    """Every file of the archive, in order."""
    entries: list[Entry] = []
    index: list[dict[str, Any]] = []
    docker: list[dict[str, Any]] = []
    for each in chosen:
        image = each.image
        manifest = manifest_for(engine.store, image, oci=True)
        mtime = max(created_at(image.config.created) // 10**9, 0)
        plain: list[str] = []
        for layer, diff_id in zip(manifest.layers, image.config.diff_ids, strict=True):
            path = engine.store.blobs.path(layer.digest)
            entries.append(Entry(_name(layer.digest), os.path.getsize(path), path=path, mtime=mtime))
            plain.append(_name(diff_id if is_zstd(layer) else layer.digest))
            if is_zstd(layer):
                entries.append(Entry(_name(diff_id), plain_size(path), path=path, is_zstd=True, mtime=mtime))
        for content in (image.config.raw, manifest.raw):
            entries.append(_small(_name(Digest.of(content)), content, mtime))
        docker.append(
            {"Config": _name(image.id), "RepoTags": [name.familiar for name in each.names] or None, "Layers": plain}
        )
        names: list[Reference | None] = [*each.names] or [None]
        index += [_index_entry(manifest.media_type, manifest.raw, name) for name in names]
    layout = {"imageLayoutVersion": "1.0.0"}
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}
    files = {"oci-layout": layout, "index.json": document, "manifest.json": docker}
    return entries + [_small(path, json.dumps(found).encode(), 0) for path, found in files.items()]


def _index_entry(media_type: str, raw: bytes, name: Reference | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"mediaType": media_type, "digest": Digest.of(raw), "size": len(raw)}
    if name:
        entry["annotations"] = {
            "io.containerd.image.name": str(name),
            "org.opencontainers.image.ref.name": name.tag,
        }
    return entry


def _small(name: str, content: bytes, mtime: int) -> Entry:
    return Entry(name, len(content), content, mtime=mtime)


def _name(digest: Digest) -> str:
    return f"{FOLDER}/{digest.hex}"
