"""`docker load`: archives of Docker (manifest.json) and OCI layouts (index.json), with any number of images."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Corrupt, EngineError, InvalidArgument
from gantry_agent.engine.oci import Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference
from gantry_agent.engine.oci.documents import MAX_DOCUMENT, MAX_LAYERS, parse
from gantry_agent.engine.store import files

from .announce import announce
from .intake import in_thread, opened
from .layer import add_layer
from .progress import Progress
from .tar import Spool, SpooledFile, spool

MAX_NESTING = 4  # indexes in indexes
NAME, TAG = "io.containerd.image.name", "org.opencontainers.image.ref.name"


@dataclass
class Item:
    """One image of an archive."""

    config: bytes
    layers: list[SpooledFile]
    manifest: Manifest | None = None
    names: list[Reference] = field(default_factory=list)


async def load(engine: Engine, source: AsyncIterator[bytes], progress: Progress, *, quiet: bool = False) -> None:
    """Read an archive and add its images. `quiet` leaves the layers' numbers out.

    Raises InvalidArgument for what is no such archive, Corrupt when content is not what its digest says. Images
    before the one that failed stay.
    """
    async with spooled(engine, source) as archive, engine.store.lease():
        items = await asyncio.to_thread(_items, archive)
        for item in items:
            await _add(engine, item, progress, quiet)


@asynccontextmanager
async def spooled(engine: Engine, source: AsyncIterator[bytes]) -> AsyncIterator[Spool]:
    """An uploaded archive, taken apart in a folder that goes when the block ends."""
    folder = files.temporary(engine.layout.tmp, "load")
    await asyncio.to_thread(folder.mkdir, 0o700)
    try:
        most = engine.config.max_layer_size
        yield await in_thread(source, lambda file: spool(opened(file), folder, most))
    finally:
        await asyncio.shield(asyncio.to_thread(files.remove_tree, folder))


async def _add(engine: Engine, item: Item, progress: Progress, quiet: bool) -> None:
    """The item's layers that are missing, the image, its names."""
    config = ImageConfig.parse(item.config)
    if len(item.layers) != len(config.diff_ids):
        raise InvalidArgument(
            f"the archive has {len(item.layers)} layers for image {config.id}, its configuration {len(config.diff_ids)}"
        )
    store = engine.store
    descriptors: list[Descriptor] = []
    parent: Digest | None = None
    for file, diff_id, chain in zip(item.layers, config.diff_ids, config.chain_ids, strict=True):
        if store.layers.has(chain):
            descriptors.append(store.layers.get(chain).blob)
        else:
            _, blob = await add_layer(engine, file, parent, diff_id, _told(progress, quiet, diff_id))
            descriptors.append(blob)
        parent = chain
    if item.manifest:
        descriptors = list(item.manifest.layers)
    manifest = item.manifest.raw if item.manifest else None
    image_id = await store.images.add(item.config, descriptors, manifest)
    for name in item.names:
        if before := await store.images.tag(image_id, name):
            message = f"The image {name.familiar} already exists, renaming the old one with ID {before} to empty string"
            progress.text(f"{message}\n")
        progress.text(f"Loaded image: {name.familiar}\n")
    if not item.names:
        progress.text(f"Loaded image ID: {image_id}\n")
    announce(engine, "load", store.images.by_id(image_id))


def _told(progress: Progress, quiet: bool, diff_id: Digest) -> Callable[[int, int], None]:
    def told(current: int, total: int) -> None:
        if not quiet:
            progress.detail(diff_id.short, "Loading layer", current, total)

    return told


def _items(archive: Spool) -> list[Item]:
    """The images an archive holds. Blocks. Raises InvalidArgument, Corrupt."""
    manifests = list(_oci_manifests(archive)) if archive.get("index.json") else []
    if archive.get("manifest.json"):
        return _docker_items(archive, {manifest.config.digest: manifest for manifest, _ in manifests})
    if not archive.get("index.json"):
        raise InvalidArgument("the archive holds no image: neither manifest.json nor index.json is in it")
    return [_oci_item(archive, manifest, name) for manifest, name in manifests]


def _docker_items(archive: Spool, manifests: dict[Digest, Manifest]) -> list[Item]:
    """By manifest.json: [{"Config": path, "RepoTags": […], "Layers": [paths]}]."""
    try:
        found = json.loads(archive.read("manifest.json", MAX_DOCUMENT))
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"manifest.json is not JSON: {exc}") from exc
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InvalidArgument("manifest.json is not a list of images")
    items = []
    for each in found:
        names, paths = each.get("RepoTags") or [], each.get("Layers") or []
        if not isinstance(names, list) or not isinstance(paths, list) or len(paths) > MAX_LAYERS:
            raise InvalidArgument("manifest.json: RepoTags and Layers must be lists")
        config = archive.read(str(each.get("Config")), MAX_DOCUMENT)
        layers = [_file(archive, str(path)) for path in paths]
        manifest = manifests.get(Digest.of(config))
        if manifest and [layer.digest for layer in manifest.layers] != [layer.digest for layer in layers]:
            manifest = None  # the layers are here in another form than the manifest names
        items.append(Item(config, layers, manifest, [Reference.parse(str(name)) for name in names]))
    return items


def _oci_manifests(archive: Spool) -> list[tuple[Manifest, str]]:
    """Manifests an OCI layout's index names, each with its name or ""."""
    index = parse(archive.read("index.json", MAX_DOCUMENT))
    if not isinstance(index, Index):
        raise InvalidArgument("index.json is not an index")
    found = []
    for entry in index.manifests:
        name = entry.annotations.get(NAME) or entry.annotations.get(TAG) or ""
        document = _document(archive, entry)
        for _ in range(MAX_NESTING):
            if isinstance(document, Manifest):
                found.append((document, name))
                break
            document = _document(archive, document.choose(Platform.host()))
    return found


def _document(archive: Spool, entry: Descriptor) -> Manifest | Index:
    return parse(_blob(archive, entry).path.read_bytes(), entry.media_type)


def _oci_item(archive: Spool, manifest: Manifest, name: str) -> Item:
    config = _blob(archive, manifest.config)
    if config.size > MAX_DOCUMENT:
        raise InvalidArgument(f"the image's configuration has {config.size} bytes; at most {MAX_DOCUMENT} are read")
    layers = [_blob(archive, layer) for layer in manifest.layers]
    names = []
    if ":" in name or "/" in name:  # else only a tag, of an image whose name the archive does not say
        try:
            names = [Reference.parse(name)]
        except EngineError:
            names = []
    return Item(config.path.read_bytes(), layers, manifest, names)


def _blob(archive: Spool, entry: Descriptor) -> SpooledFile:
    found = _file(archive, f"blobs/sha256/{entry.digest.hex}")
    if found.digest != entry.digest or found.size != entry.size:
        raise Corrupt(
            f"content does not match its digest: got {found.digest} ({found.size} bytes),"
            f" want {entry.digest} ({entry.size} bytes)"
        )
    return found


def _file(archive: Spool, name: str) -> SpooledFile:
    found = archive.get(name)
    if found is None:
        raise InvalidArgument(f"the archive has no file {name[:200]!r}")
    return found
