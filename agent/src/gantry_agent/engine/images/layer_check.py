"""Is an unpacked layer what its blob says? Every entry of the tar must be there, of its kind and size.

Files' bytes are not compared: a layer gets its name after a sync, so what may be wrong is that something is missing, or
was changed by hand.
"""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.layers.tar_reader import (
    BLOCK_DEVICE,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    LINK,
    SYMLINK,
    Source,
    TarError,
    TarReader,
)
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Digest

from .intake import opened

CHUNK = 1 << 20  # bytes
SHOWN = 5  # problems of one layer
WHITEOUT = b".wh."
_FORMATS = {
    FILE: stat.S_IFREG,
    FOLDER: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    CHARACTER: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}
Entries = dict[bytes, tuple[int, int]]
"""Path → kind as in stat(2), 0 for a hard link, and size, -1 where it does not matter."""


def check_layers(layout: Layout) -> list[str]:
    """What is wrong with the unpacked layers, one sentence each. Reads every blob; blocks."""
    connection = sqlite3.connect(f"file:{layout.database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT chain, blob, diff_id FROM layers ORDER BY chain").fetchall()
    finally:
        connection.close()
    problems = []
    for chain, blob, diff_id in rows:
        folder = layout.layers / Digest(chain).hex / "diff"
        path = layout.blobs / Digest(blob).hex
        if folder.is_dir() and path.exists():
            problems += [f"layer {chain}: {each}" for each in islice(_differences(folder, path, diff_id), SHOWN)]
    return problems


def _differences(folder: Path, blob: Path, diff_id: str) -> Iterator[str]:
    with blob.open("rb") as file:
        source, digest = opened(file), hashlib.sha256()

        def more() -> bytes:
            chunk = source.read(CHUNK)
            digest.update(chunk)
            return chunk

        try:
            entries = _entries(TarReader(Source(more)))
        except (TarError, EngineError) as exc:
            yield f"its blob cannot be read: {exc}"
            return
    if digest.hexdigest() != Digest(diff_id).hex:
        yield f"its blob unpacks to sha256:{digest.hexdigest()}, not {diff_id}"
    for path, (kind, size) in entries.items():
        if not _is_covered(path, entries):
            yield from _difference(folder, path, kind, size)


def _entries(reader: TarReader) -> Entries:
    """What the tar leaves behind; a later member of the same name replaces an earlier one."""
    entries: Entries = {}
    for member in reader:
        path = os.path.normpath(b"./" + member.name.strip(b"/"))
        base = path[path.rfind(b"/") + 1 :]
        if base.startswith(WHITEOUT):
            if not base.startswith(WHITEOUT * 2):
                hidden = path[: -len(base)] + base[len(WHITEOUT) :]
                entries.setdefault(hidden, (stat.S_IFCHR, -1))
        elif member.kind == LINK:
            entries[path] = (0, -1)
        else:
            entries[path] = (_FORMATS[member.kind], member.size if member.kind == FILE else -1)
    return entries


def _is_covered(path: bytes, entries: Entries) -> bool:
    """Whether a folder above was replaced by something else: what was in it is gone, or lies elsewhere."""
    while (end := path.rfind(b"/")) > 0:
        path = path[:end]
        if path in entries and entries[path][0] != stat.S_IFDIR:
            return True
    return False


def _difference(folder: Path, path: bytes, kind: int, size: int) -> Iterator[str]:
    shown = path.decode(errors="backslashreplace")
    try:
        found = os.lstat(os.path.join(os.fsencode(folder), path))
    except OSError as exc:
        yield f"{shown!r} is missing: {exc.strerror}"
        return
    if kind and stat.S_IFMT(found.st_mode) != kind:
        yield f"{shown!r} is of another kind: {stat.filemode(found.st_mode)[0]} instead of {stat.filemode(kind)[0]}"
    elif size >= 0 and found.st_size != size:
        yield f"{shown!r} has {found.st_size} bytes, not {size}"
