"""Pull: manifest, configuration, then every missing layer, fetched, kept and unpacked at the same time.

A layer's bytes go to the store (which checks the digest) and to the unpacker (which tells the diff id) as they come;
nothing gets its name before both are right. So a layer is verified as sent and as unpacked, and what a registry
sends for one image cannot become part of another.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.core import Engine
from gantry_agent.engine.courtesy import Courtesy
from gantry_agent.engine.errors import (
    Corrupt,
    EngineError,
    Forbidden,
    Internal,
    InvalidArgument,
    NotFound,
    Unsupported,
)
from gantry_agent.engine.layers.unpack import Unpacker
from gantry_agent.engine.oci import Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference
from gantry_agent.engine.oci.documents import parse
from gantry_agent.engine.registry import Credentials
from gantry_agent.engine.registry.answers import NameUnknown
from gantry_agent.engine.registry.sources import Sources
from gantry_agent.engine.store.blobs import BlobWriter

from .layer import limits_of
from .progress import Progress

CHUNK = 1 << 20  # bytes read at once from a blob that is here already


@dataclass(frozen=True)
class Part:
    """One layer of the image: what the manifest calls it, what the configuration says it unpacks to."""

    blob: Descriptor
    diff_id: Digest
    chain: Digest
    parent: Digest | None

    @property
    def name(self) -> str:
        """As progress names it."""
        return self.blob.digest.short


async def pull(
    engine: Engine, reference: Reference, wanted: Platform | None, credentials: Credentials, progress: Progress
) -> None:
    """Make the image of a tag or digest this engine's, and tell of it. Raises EngineError.

    `wanted`: the platform asked for, this machine's when None.
    """
    async with engine.store.lease():
        is_new = await _pull_one(engine, reference, wanted, credentials, progress)
    _conclude(engine, reference.familiar, reference, is_new, progress)
    if wanted is not None:
        _warn(engine, reference, wanted, progress)


async def pull_all(
    engine: Engine, reference: Reference, wanted: Platform | None, credentials: Credentials, progress: Progress
) -> None:
    """Pull every tag of a repository."""
    sources = Sources(engine.registry.repositories(reference, credentials))
    is_new = False
    async with engine.store.lease():
        async with _worded(reference):
            tags = await sources.tags()
        for tag in tags:
            is_new |= await _pull_one(engine, reference.with_tag(tag), wanted, credentials, progress)
    _conclude(engine, reference.familiar_name, reference, is_new, progress)


async def _pull_one(
    engine: Engine, reference: Reference, wanted: Platform | None, credentials: Credentials, progress: Progress
) -> bool:
    """Whether the name means something else than before."""
    store = engine.store
    sources = Sources(engine.registry.repositories(reference, credentials))
    async with _worded(reference):
        fetched = await sources.manifest(reference.digest or reference.tag)
    document = parse(fetched.content, fetched.media_type)
    progress.message(f"Pulling from {reference.repository}", reference.familiar if reference.digest else reference.tag)
    manifest = await _choose(sources, document, wanted)
    config = await _config(engine, sources, manifest.config)
    parts = _parts(manifest, config)
    image_id = config.id
    if not _is_whole(engine, config, manifest):
        await _fetch_layers(engine, sources, parts, progress)
        image_id = await store.images.add(config.raw, manifest.layers, manifest.raw)
    progress.message(f"Digest: {fetched.digest}")
    # A reference with both is a digest: what its tag means now was not looked at.
    name = reference.with_digest(fetched.digest)
    if not reference.digest:
        name = Reference(reference.registry, reference.repository, reference.tag, fetched.digest)
    return await _name(engine, image_id, name)


async def _choose(sources: Sources, document: Manifest | Index, wanted: Platform | None) -> Manifest:
    """The manifest for one platform; an index inside an index is not followed."""
    if isinstance(document, Manifest):
        return document
    chosen = document.choose(wanted or Platform.host())
    fetched = await sources.manifest(chosen.digest)
    if len(fetched.content) != chosen.size:
        raise Corrupt(f"manifest {chosen.digest} has {len(fetched.content)} bytes, its index says {chosen.size}")
    return Manifest.parse(fetched.content, fetched.media_type or chosen.media_type)


async def _config(engine: Engine, sources: Sources, descriptor: Descriptor) -> ImageConfig:
    """The image's configuration, from here or from the registry. Raises Unsupported for what is no Linux image."""
    blobs = engine.store.blobs
    here = await asyncio.to_thread(blobs.read, descriptor.digest) if blobs.has(descriptor.digest) else None
    config = ImageConfig.parse(here or await sources.small_blob(descriptor.digest, descriptor.size))
    if config.platform.os not in ("linux", ""):
        raise Unsupported(f'image operating system "{config.platform.os}" cannot be used on this platform')
    return config


def _parts(manifest: Manifest, config: ImageConfig) -> list[Part]:
    """The layers, lowest first. Raises InvalidArgument when manifest and configuration do not fit."""
    if len(manifest.layers) != len(config.diff_ids):
        raise InvalidArgument(
            f"the image's configuration has {len(config.diff_ids)} layers, its manifest {len(manifest.layers)}"
        )
    chains = config.chain_ids
    return [
        Part(blob, diff_id, chain, parent)
        for blob, diff_id, chain, parent in zip(
            manifest.layers, config.diff_ids, chains, [None, *chains[:-1]], strict=True
        )
    ]


def _is_whole(engine: Engine, config: ImageConfig, manifest: Manifest) -> bool:
    """Whether this very image is listed already: then only its name may be new."""
    try:
        image = engine.store.images.by_id(config.id)
    except NotFound:
        return False
    has_layers = all(engine.store.layers.has(chain) for chain in image.chains)
    return has_layers and not image.hidden and image.manifest == manifest.digest


async def _fetch_layers(engine: Engine, sources: Sources, parts: list[Part], progress: Progress) -> None:
    """All missing layers, side by side. The first failure ends the others."""
    missing = []
    for part in parts:
        if engine.store.layers.has(part.chain):
            progress.step(part.name, "Already exists")
        else:
            progress.step(part.name, "Pulling fs layer")
            missing.append(part)
    for part in missing[engine.config.max_concurrent_downloads :]:
        progress.step(part.name, "Waiting")
    try:
        async with asyncio.TaskGroup() as group:
            for part in missing:
                group.create_task(_fetch_layer(engine, sources, part, progress))
    except BaseExceptionGroup as failed:
        raise first_error(failed) from failed


async def _fetch_layer(engine: Engine, sources: Sources, part: Part, progress: Progress) -> None:
    """One layer into the store. Another pull of the same layer waits, and finds it there."""
    async with engine.transfers.lock(part.chain):
        if not engine.store.layers.has(part.chain):
            try:
                async with engine.transfers.downloads:
                    await _bring(engine, sources, part, progress)
            except OSError as exc:
                raise Internal(f"failed to register layer {part.name}: {(exc.strerror or str(exc)).lower()}") from exc
    progress.step(part.name, "Pull complete")


async def _bring(engine: Engine, sources: Sources, part: Part, progress: Progress) -> None:
    store, blob = engine.store, part.blob
    async with store.layers.stage() as staged, Unpacker(staged.folder, limits_of(engine.config)) as unpacker:
        if store.blobs.has(blob.digest):
            async with aclosing(_stored(store.blobs.path(blob.digest))) as chunks:
                async for chunk in chunks:
                    await unpacker.write(chunk)
            progress.step(part.name, "Download complete")
        else:
            async with store.blobs.writer(blob.digest, blob.size) as writer:
                await _receive(sources, part, writer, unpacker, progress, engine.courtesy)
        progress.detail(part.name, "Extracting", blob.size, blob.size)
        unpacked = await unpacker.finish()
        if unpacked.diff_id != part.diff_id:
            raise Corrupt(
                f"layer {blob.digest} does not unpack to what the image says: got {unpacked.diff_id}, "
                f"want {part.diff_id}"
            )
        await staged.commit(part.chain, part.parent, part.diff_id, unpacked.size, unpacked.entries, blob)


async def _receive(
    sources: Sources, part: Part, writer: BlobWriter, unpacker: Unpacker, progress: Progress, courtesy: Courtesy
) -> None:
    """Stream a blob into the store and the unpacker.

    What the unpacker says against it is told after the digest was found right: of a damaged download, that is the
    news. A bomb's remaining compressed bytes are few by the limit it broke.
    """
    refused: EngineError | None = None
    total = part.blob.size
    async with aclosing(sources.blob(part.blob.digest, total)) as chunks:
        async for chunk in chunks:
            await courtesy.after_you()
            await writer.write(chunk)
            if refused is None:
                try:
                    await unpacker.write(chunk)
                except EngineError as exc:
                    refused = exc
            progress.detail(part.name, "Downloading", writer.received, total)
    progress.step(part.name, "Verifying Checksum")
    await writer.commit()
    progress.step(part.name, "Download complete")
    if refused is not None:
        raise refused


async def _stored(path: Path) -> AsyncGenerator[bytes, None]:
    """The bytes of a file, read in threads."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()


async def _name(engine: Engine, image_id: Digest, name: Reference) -> bool:
    """Give the image its name; whether that is news."""
    image = engine.store.images.by_id(image_id)
    had_digest = any(each.name == name.name and each.digest == name.digest for each in image.digests)
    had_tag = not name.tag or any(each.name == name.name and each.tag == name.tag for each in image.tags)
    if had_digest and had_tag:
        return False
    await engine.store.images.tag(image_id, name)
    return True


def _conclude(engine: Engine, what: str, reference: Reference, is_new: bool, progress: Progress) -> None:
    news = "Downloaded newer image for" if is_new else "Image is up to date for"
    progress.message(f"Status: {news} {what}")
    engine.events.publish("image", "pull", what, name=reference.familiar_name)


def _warn(engine: Engine, reference: Reference, wanted: Platform, progress: Progress) -> None:
    """A single manifest may be for another platform than was asked for; Docker pulls it and says so."""
    have = engine.store.images.get(reference.familiar).config.platform
    if have.serves(wanted) is None:
        progress.message(
            f"WARNING: image with reference {reference.familiar} was found but does not match the specified "
            f"platform: wanted {wanted.os}/{wanted.architecture}, actual: {have.os}/{have.architecture}"
        )


@asynccontextmanager
async def _worded(reference: Reference) -> AsyncIterator[None]:
    """A registry's refusal in Docker's words; no right to read and not there are both 404."""
    try:
        yield
    except Forbidden as exc:
        raise NotFound(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {exc.message}"
        ) from exc
    except NameUnknown as exc:
        raise NotFound(f"repository {reference.familiar_name} not found: {exc.message}") from exc
    except NotFound as exc:
        raise NotFound(f"manifest for {reference.familiar} not found: {exc.message}") from exc


def first_error(failed: BaseExceptionGroup) -> BaseException:
    """The first error of a group of tasks."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
