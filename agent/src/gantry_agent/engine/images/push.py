"""Push: only what the registry lacks. A blob another repository there has is mounted, not sent.

An image that came with a manifest goes back with exactly that one, so its digest stays; for one made here a manifest
is written.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Internal, NotFound
from gantry_agent.engine.oci import Descriptor, Digest, Manifest, Reference
from gantry_agent.engine.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from gantry_agent.engine.registry import Credentials, Repository
from gantry_agent.engine.store import Image

from .progress import Progress
from .pull import first_error

CHUNK = 1 << 20  # bytes read from the disk at once
_OCI_LAYERS = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP}


@dataclass(frozen=True)
class Part:
    """One layer to push."""

    blob: Descriptor
    diff_id: Digest

    @property
    def name(self) -> str:
        """As progress names it."""
        return self.diff_id.short


async def push(
    engine: Engine, reference: Reference, credentials: Credentials, progress: Progress, *, all_tags: bool = False
) -> None:
    """Push the image named `reference`, or every tag of its repository. Raises EngineError."""
    progress.message(f"The push refers to repository [{reference.name}]")
    for tagged in _chosen(engine, reference, all_tags):
        async with engine.store.lease():
            await _push_one(engine, tagged, credentials, progress)
    engine.events.publish(
        "image", "push", reference.familiar_name if all_tags else reference.familiar, name=reference.familiar_name
    )


def _chosen(engine: Engine, reference: Reference, all_tags: bool) -> list[Reference]:
    """The names to push. Raises NotFound in Docker's words."""
    found = [tag for image in engine.store.images.all() for tag in image.tags if tag.name == reference.name]
    if not found:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
    if all_tags:
        return sorted(found, key=lambda each: each.tag)
    if not any(each.tag == reference.tag for each in found):
        raise NotFound(f"tag does not exist: {reference.familiar}")
    return [reference]


async def _push_one(engine: Engine, reference: Reference, credentials: Credentials, progress: Progress) -> None:
    image = engine.store.images.get(reference.familiar)
    repository = engine.registry.repositories(reference, credentials, mirrors=False)[-1]
    manifest = await _manifest(engine, image)
    parts = [Part(*each) for each in zip(manifest.layers, image.config.diff_ids, strict=True)]
    await repository.site.base()
    for part in reversed(parts):
        progress.step(part.name, "Preparing")
    for part in parts[: max(0, len(parts) - engine.config.max_concurrent_uploads)]:
        progress.step(part.name, "Waiting")
    try:
        async with asyncio.TaskGroup() as group:
            sent: set[Digest] = set()
            for part in reversed(parts):
                if part.blob.digest not in sent:
                    sent.add(part.blob.digest)
                    group.create_task(_push_layer(engine, repository, reference, part, progress))
    except BaseExceptionGroup as failed:
        raise first_error(failed) from failed
    if not await repository.has_blob(manifest.config.digest):
        await repository.upload(manifest.config.digest, manifest.config.size, lambda: _once(image.config.raw))
    digest = await repository.put_manifest(reference.tag, manifest.raw, manifest.media_type)
    await engine.store.images.tag(image.id, reference.with_digest(digest))
    size = len(manifest.raw)
    progress.message(f"{reference.tag}: digest: {digest} size: {size}")
    progress.aux({"Tag": reference.tag, "Digest": digest, "Size": size})


async def _manifest(engine: Engine, image: Image) -> Manifest:
    """The one it came with, when all the blobs that names are here; else one of the blobs that are."""
    layers = engine.store.images.descriptors(image.id)
    if image.manifest:
        manifest = Manifest.parse(await asyncio.to_thread(engine.store.blobs.read, image.manifest))
        if [each.digest for each in manifest.layers] == [each.digest for each in layers]:
            return manifest
    size = len(image.config.raw)
    if all(layer.media_type in (DOCKER_LAYER, DOCKER_LAYER_GZIP) for layer in layers):
        return Manifest.make(Descriptor(DOCKER_CONFIG, image.id, size), tuple(layers))
    converted = tuple(
        Descriptor(_OCI_LAYERS.get(layer.media_type, layer.media_type), layer.digest, layer.size) for layer in layers
    )
    return Manifest.make(Descriptor(OCI_CONFIG, image.id, size), converted, OCI_MANIFEST)


async def _push_layer(
    engine: Engine, repository: Repository, reference: Reference, part: Part, progress: Progress
) -> None:
    """One layer to the registry, unless it is there."""
    digest, size = part.blob.digest, part.blob.size
    async with engine.transfers.uploads:
        if await repository.has_blob(digest):
            progress.step(part.name, "Layer already exists")
            return
        source = _source(engine, reference, digest)
        try:
            path = engine.store.blobs.path(digest)
            is_mounted = await repository.upload(digest, size, lambda: _told(path, size, part, progress), source)
        except OSError as exc:
            raise Internal(f"layer {part.name} cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    progress.step(part.name, f"Mounted from {source}" if is_mounted else "Pushed")


def _source(engine: Engine, reference: Reference, digest: Digest) -> str:
    """Another repository of the same registry that had the blob when we last saw it, or ""."""
    for image in engine.store.images.all():
        if any(layer.digest == digest for layer in image.layers):
            for name in image.digests:
                if name.registry == reference.registry and name.repository != reference.repository:
                    return name.repository
    return ""


async def _told(path: Path, total: int, part: Part, progress: Progress) -> AsyncIterator[bytes]:
    """The bytes of a blob, read in threads, with progress."""
    sent = 0
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
            sent += len(chunk)
            progress.detail(part.name, "Pushing", sent, total)
    finally:
        file.close()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
