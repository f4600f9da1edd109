"""`gantry-agent engine check`: is what the store says true? It reads only, also beside a running engine."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Digest, ImageConfig

from .layers import short_name

CHUNK = 1 << 20  # bytes


def check(layout: Layout) -> list[str]:
    """What is damaged, one sentence each."""
    if not layout.database.exists():
        return [f"{layout.root} is not the root of an engine: it has no {layout.database.name}"]
    connection = sqlite3.connect(f"file:{layout.database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        if found:
            return [f"the database is damaged: {each}" for each in found]
        problems = [*_foreign_keys(connection), *_blobs(layout), *_layers(layout, connection)]
        return [*problems, *_images(layout, connection)]
    except sqlite3.DatabaseError as exc:
        return [f"the database is damaged: {exc}"]
    finally:
        connection.close()


def leftovers(layout: Layout) -> list[str]:
    """What a start of the engine would clear away: no damage."""
    connection = sqlite3.connect(f"file:{layout.database}?mode=ro", uri=True)
    try:
        chains = {row[0].removeprefix("sha256:") for row in connection.execute("SELECT chain FROM layers")}
    finally:
        connection.close()
    folders = [f"layers/{name} has no row" for name in sorted(os.listdir(layout.layers)) if name not in chains]
    return [f"tmp/{name}" for name in sorted(os.listdir(layout.tmp))] + folders


def _foreign_keys(connection: sqlite3.Connection) -> Iterator[str]:
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"the database is damaged: a row of {row[0]} names a row of {row[2]} that is not there"


def _blobs(layout: Layout) -> Iterator[str]:
    for name in sorted(os.listdir(layout.blobs)):
        got = _hash(layout.blobs / name)
        if got is not None and got != name:
            yield f"blob sha256:{name} is damaged: its content has digest sha256:{got}"


def _layers(layout: Layout, connection: sqlite3.Connection) -> Iterator[str]:
    known = {row["chain"]: row for row in connection.execute("SELECT * FROM layers")}
    for chain, row in known.items():
        digest = Digest(chain)
        if not (layout.layers / digest.hex / "diff").is_dir():
            yield f"layer {chain} is not unpacked: layers/{digest.hex}/diff is missing"
        link = layout.links / short_name(digest)
        if not link.is_symlink() or os.readlink(link) != f"../layers/{digest.hex}/diff":
            yield f"layer {chain} has no short link l/{link.name}"
        if row["parent"] and row["parent"] not in known:
            yield f"layer {chain} stands on {row['parent']}, which is not there"
        blob = layout.blobs / Digest(row["blob"]).hex
        if not blob.exists():
            yield f"layer {chain} has lost its blob {row['blob']}"
        elif blob.stat().st_size != row["blob_size"]:
            yield f"layer {chain}: its blob has {blob.stat().st_size} bytes, not {row['blob_size']}"


def _images(layout: Layout, connection: sqlite3.Connection) -> Iterator[str]:
    for row in connection.execute("SELECT * FROM images"):
        image_id = Digest(row["id"])
        try:
            config = ImageConfig.parse((layout.blobs / image_id.hex).read_bytes())
        except FileNotFoundError:
            yield f"image {image_id} has lost its configuration"
            continue
        except EngineError as exc:
            yield f"image {image_id}: {exc.message}"
            continue
        sql = "SELECT chain FROM image_layers WHERE image = ? ORDER BY position"
        chains = [each["chain"] for each in connection.execute(sql, (image_id,))]
        if chains != config.chain_ids:
            yield f"image {image_id}: its layers are {json.dumps(chains)}, its configuration says other ones"
        if row["manifest"] and not (layout.blobs / Digest(row["manifest"]).hex).exists():
            yield f"image {image_id} has lost its manifest {row['manifest']}"


def _hash(path: Path) -> str | None:
    """The content's sha256; None when the file has gone meanwhile."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            return digest.hexdigest()
    except FileNotFoundError:
        return None
