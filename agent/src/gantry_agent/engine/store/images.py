"""Images and their names.

An image is its configuration: the id is the configuration's digest. Tags and repository digests are names that point
to it. An image whose last name went while a container still stands on it is hidden: neither listed nor found, but kept
until that container is gone. A step is what a build made on its way: found by its id, listed only by who asks for all.
"""

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, EngineError, Internal, InvalidArgument, NotFound
from gantry_agent.engine.oci import Descriptor, Digest, ImageConfig, Reference

from .blobs import Blobs
from .layers import Layer, Layers
from .lease import Leases
from .whole import whole

log = logging.getLogger(__name__)

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS images (
        id TEXT PRIMARY KEY,
        parent TEXT NOT NULL,
        manifest TEXT,
        added_at INTEGER NOT NULL,
        tagged_at INTEGER NOT NULL,
        hidden INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS image_layers (
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        chain TEXT NOT NULL REFERENCES layers (chain),
        blob TEXT NOT NULL,
        blob_size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        PRIMARY KEY (image, position)
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS image_layers_chain ON image_layers (chain)",
    """CREATE TABLE IF NOT EXISTS tags (
        name TEXT NOT NULL,
        tag TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (name, tag)
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS repo_digests (
        name TEXT NOT NULL,
        digest TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (name, digest)
    ) STRICT""",
    "CREATE TABLE IF NOT EXISTS steps (image TEXT PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE) STRICT",
)
_ID_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}\Z")
_FULL_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Image:
    """One image as it is now. Times are nanoseconds since the epoch, 0: never."""

    id: Digest
    config: ImageConfig
    parent: str
    manifest: Digest | None
    """The manifest it came with, byte for byte in the blobs; None for one made here."""
    added_at: int
    tagged_at: int
    hidden: bool
    is_step: bool
    layers: tuple[Descriptor, ...]
    """The compressed layers its manifest names, lowest first. One may be missing from the blobs when another form of
    the same layer was here already: see `Images.descriptors`."""
    size: int
    """Bytes of all its files."""
    tags: tuple[Reference, ...]
    digests: tuple[Reference, ...]

    @property
    def chains(self) -> list[Digest]:
        """Its layers' chain ids, lowest first."""
        return self.config.chain_ids

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every name: tags, then repository digests."""
        return self.tags + self.digests

    @property
    def repo_tags(self) -> list[str]:
        """As Docker shows them."""
        return [each.familiar for each in self.tags]

    @property
    def repo_digests(self) -> list[str]:
        """As Docker shows them."""
        return [each.familiar for each in self.digests]


class Images:
    """The images of one store. Lookups answer from memory; every change writes the row before it returns."""

    def __init__(self, database: Database, blobs: Blobs, layers: Layers, leases: Leases, changes: asyncio.Lock) -> None:
        self._database = database
        self._blobs = blobs
        self._layers = layers
        self._leases = leases
        self._changes = changes
        self._images: dict[str, Image] = {}
        self._tags: dict[str, str] = {}
        self._digests: dict[str, str] = {}

    def load(self) -> None:
        """Read everything; an image whose configuration is damaged is left out, and said."""
        self._images.clear()
        for row in self._database.read("SELECT id FROM images"):
            try:
                self._reload(row["id"])
            except EngineError as exc:
                log.error("image %s cannot be used: %s", row["id"], exc.message)

    def all(self) -> list[Image]:
        """Every image that is neither hidden nor a step."""
        return [image for image in self._images.values() if not image.hidden and not image.is_step]

    def steps(self) -> list[Image]:
        """What builds made on their way."""
        return [image for image in self._images.values() if image.is_step and not image.hidden]

    def hidden(self) -> list[Image]:
        """Images without a name that only containers keep."""
        return [image for image in self._images.values() if image.hidden]

    def get(self, name: str) -> Image:
        """By reference, id or the beginning of an id. Inside a lease the image then stays.

        Raises InvalidArgument for what is no reference, NotFound, Conflict when several ids begin so.
        """
        image = self._find(name)
        self._leases.pin(image.id)
        return image

    def _find(self, name: str) -> Image:
        if _FULL_ID.match(name):
            return self._by_prefix(name) or _missing(name)
        reference = Reference.parse(name)
        known = self._digests if reference.digest else self._tags
        key = f"{reference.name}@{reference.digest}" if reference.digest else f"{reference.name}:{reference.tag}"
        if key in known:
            return self._images[known[key]]
        return (self._by_prefix(name) if _ID_PREFIX.match(name) else None) or _missing(reference.familiar)

    def by_id(self, image_id: str) -> Image:
        """By the whole id, hidden ones too. Raises NotFound."""
        return self._images.get(image_id) or _missing(image_id)

    def children(self, image_id: str) -> list[Image]:
        """Images made here from this one."""
        return [image for image in self.all() if image.parent == image_id]

    def stack(self, image_id: str) -> list[str]:
        """The short links of its layers, top first, as an overlay's lowerdir wants them. Raises NotFound."""
        return [self._layers.link(chain) for chain in reversed(self.by_id(image_id).chains)]

    def descriptors(self, image_id: str) -> list[Descriptor]:
        """Its compressed layers, lowest first, each in a form whose blob is here. Raises NotFound."""
        image = self.by_id(image_id)
        return [
            wanted if self._blobs.has(wanted.digest) else self._layers.get(chain).blob
            for wanted, chain in zip(image.layers, image.chains, strict=True)
        ]

    @whole
    async def add(
        self,
        config: bytes,
        layers: Sequence[Descriptor],
        manifest: bytes | None = None,
        parent: str = "",
        *,
        is_step: bool = False,
    ) -> Digest:
        """Record an image whose layers are in the store; its id. It has no name yet.

        `layers`: the compressed blobs, lowest first, one for each diff id. `manifest`: the exact bytes it came with.
        `is_step`: it is one unless it is here already as more than that.
        Raises InvalidArgument when they do not fit the configuration, Internal when a layer is not there.
        """
        parsed = ImageConfig.parse(config)
        if len(layers) != len(parsed.diff_ids):
            raise InvalidArgument(
                f"the image's configuration has {len(parsed.diff_ids)} layers, its manifest {len(layers)}"
            )
        with self._leases.hold():
            image_id = await self._blobs.put(config)
            manifest_digest = await self._blobs.put(manifest) if manifest is not None else None
            async with self._changes:
                for chain in parsed.chain_ids:
                    if not self._layers.has(chain):
                        raise Internal(f"layer {chain} of image {image_id} is not in the store")
                row = (image_id, parent, manifest_digest, time.time_ns())
                here = self._images.get(image_id)
                is_step = is_step and (here is None or here.hidden or here.is_step)
                await self._database.write(
                    lambda connection: _insert(connection, row, parsed.chain_ids, layers, is_step), durable=True
                )
                self._reload(image_id)
        return image_id

    @whole
    async def tag(self, image_id: str, reference: Reference) -> str | None:
        """Give an image a name: the tag, the repository digest, or both. The id that had the tag before, if another.

        Raises NotFound.
        """
        async with self._changes:
            self.by_id(image_id)
            before = self._tags.get(f"{reference.name}:{reference.tag}") if reference.tag else None
            digest_before = self._digests.get(f"{reference.name}@{reference.digest}")
            await self._database.write(lambda connection: _tag(connection, image_id, reference), durable=True)
            for changed in {before, digest_before, image_id} - {None}:
                self._reload(str(changed))
        return before if before != image_id else None

    @whole
    async def promote(self, image_id: str) -> None:
        """A step is an image like others from now on. Raises NotFound."""
        async with self._changes:
            if self.by_id(image_id).is_step:
                await self._database.write(lambda connection: _promote(connection, image_id), durable=True)
                self._reload(image_id)

    @whole
    async def untag(self, *references: Reference) -> None:
        """Take names away, all at once: of each the digest if it has one, else the tag. Raises NotFound."""
        async with self._changes:
            holders = set()
            for each in references:
                known, key = (self._digests, each.digest) if each.digest else (self._tags, each.tag)
                mark = "@" if each.digest else ":"
                holders.add(known.get(f"{each.name}{mark}{key}") or _missing(each.familiar).id)
            await self._database.write(lambda connection: _untag(connection, references), durable=True)
            for image_id in holders:
                self._reload(image_id)

    @whole
    async def hide(self, image: Image) -> None:
        """Take an image away with all its names, in one step; its rows stay until `forget`.

        Raises NotFound, and Conflict when its names are not those of `image` any more.
        """
        async with self._changes:
            if self.by_id(image.id).references != image.references:
                raise Conflict(f"image {image.id.short} was given other names meanwhile")
            await self._database.write(lambda connection: _hide(connection, image.id), durable=True)
            self._reload(image.id)

    async def forget(self, image_ids: Sequence[str]) -> None:
        """Delete the rows of hidden images. The caller holds the lock on changes."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM images WHERE id = ? AND hidden", [(each,) for each in image_ids])

        await self._database.write(delete, durable=True)
        for each in image_ids:
            self._reload(each)

    def _by_prefix(self, name: str) -> Image | None:
        wanted = "sha256:" + name.removeprefix("sha256:")
        if len(wanted) == len("sha256:") + 64:
            image = self._images.get(wanted)
            return image if image and not image.hidden else None
        found = [image for key, image in self._images.items() if key.startswith(wanted) and not image.hidden]
        if len(found) > 1:
            raise Conflict(f"multiple IDs found with provided prefix: {name}")
        return found[0] if found else None

    def _reload(self, image_id: str) -> None:
        """Bring what is in memory to what the rows say."""
        for names in (self._tags, self._digests):
            for gone in [name for name, held in names.items() if held == image_id]:
                del names[gone]
        rows = self._database.read(
            "SELECT images.*, steps.image IS NOT NULL AS is_step FROM images"
            " LEFT JOIN steps ON steps.image = images.id WHERE id = ?",
            image_id,
        )
        if not rows:
            self._images.pop(image_id, None)
            return
        image = self._read(rows[0])
        self._images[image_id] = image
        self._tags.update({f"{each.name}:{each.tag}": image_id for each in image.tags})
        self._digests.update({f"{each.name}@{each.digest}": image_id for each in image.digests})

    def _read(self, row: sqlite3.Row) -> Image:
        image_id = Digest(row["id"])
        before = self._images.get(image_id)
        config = before.config if before else ImageConfig.parse(self._blobs.read(image_id))
        layers = self._database.read(
            "SELECT l.*, layers.size FROM image_layers l JOIN layers ON layers.chain = l.chain"
            " WHERE l.image = ? ORDER BY position",
            image_id,
        )
        tags = self._database.read("SELECT name, tag FROM tags WHERE image = ? ORDER BY name, tag", image_id)
        digests = self._database.read(
            "SELECT name, digest FROM repo_digests WHERE image = ? ORDER BY name, digest", image_id
        )
        return Image(
            id=image_id,
            config=config,
            parent=row["parent"],
            manifest=Digest(row["manifest"]) if row["manifest"] else None,
            added_at=row["added_at"],
            tagged_at=row["tagged_at"],
            hidden=bool(row["hidden"]),
            is_step=bool(row["is_step"]),
            layers=tuple(Descriptor(each["media_type"], Digest(each["blob"]), each["blob_size"]) for each in layers),
            size=sum(each["size"] for each in layers),
            tags=tuple(_named(each["name"], each["tag"], None) for each in tags),
            digests=tuple(_named(each["name"], "", Digest(each["digest"])) for each in digests),
        )

    def layers_of(self, image: Image) -> list[Layer]:
        """Its layers' rows, lowest first."""
        return [self._layers.get(chain) for chain in image.chains]


def _missing(name: str) -> Image:
    raise NotFound(f"No such image: {name}")


def _named(name: str, tag: str, digest: Digest | None) -> Reference:
    registry, _, repository = name.partition("/")
    return Reference(registry, repository, tag, digest)


def _insert(
    connection: sqlite3.Connection,
    row: tuple[str, str, str | None, int],
    chains: Sequence[str],
    layers: Sequence[Descriptor],
    is_step: bool,
) -> None:
    connection.execute(
        "INSERT INTO images (id, parent, manifest, added_at, tagged_at) VALUES (?, ?, ?, ?, 0)"
        " ON CONFLICT (id) DO UPDATE SET hidden = 0, manifest = coalesce(excluded.manifest, manifest)",
        row,
    )
    connection.execute("DELETE FROM image_layers WHERE image = ?", (row[0],))
    connection.executemany(
        "INSERT INTO image_layers (image, position, chain, blob, blob_size, media_type) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (row[0], position, chain, layer.digest, layer.size, layer.media_type)
            for position, (chain, layer) in enumerate(zip(chains, layers, strict=True))
        ],
    )
    if is_step:
        connection.execute("INSERT OR IGNORE INTO steps (image) VALUES (?)", (row[0],))
    else:
        _promote(connection, row[0])


def _promote(connection: sqlite3.Connection, image_id: str) -> None:
    connection.execute("DELETE FROM steps WHERE image = ?", (image_id,))


def _tag(connection: sqlite3.Connection, image_id: str, reference: Reference) -> None:
    _promote(connection, image_id)
    if reference.tag:
        connection.execute(
            "INSERT INTO tags (name, tag, image) VALUES (?, ?, ?)"
            " ON CONFLICT (name, tag) DO UPDATE SET image = excluded.image",
            (reference.name, reference.tag, image_id),
        )
    if reference.digest:
        connection.execute(
            "INSERT INTO repo_digests (name, digest, image) VALUES (?, ?, ?)"
            " ON CONFLICT (name, digest) DO UPDATE SET image = excluded.image",
            (reference.name, reference.digest, image_id),
        )
    connection.execute("UPDATE images SET tagged_at = ?, hidden = 0 WHERE id = ?", (time.time_ns(), image_id))


def _untag(connection: sqlite3.Connection, references: Sequence[Reference]) -> None:
    for each in references:
        if each.digest:
            connection.execute("DELETE FROM repo_digests WHERE name = ? AND digest = ?", (each.name, each.digest))
        else:
            connection.execute("DELETE FROM tags WHERE name = ? AND tag = ?", (each.name, each.tag))


def _hide(connection: sqlite3.Connection, image_id: str) -> None:
    for table in ("tags", "repo_digests"):
        connection.execute(f"DELETE FROM {table} WHERE image = ?", (image_id,))
    connection.execute("UPDATE images SET hidden = 1 WHERE id = ?", (image_id,))
