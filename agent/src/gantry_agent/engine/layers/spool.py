"""A tar as two files: the content of all its files, one behind the other, and an index of what is where.

A build's context comes as a tar, and most of it is used once: unpacking it costs as much as the copy that follows. The
index is SQLite, so that a context of any number of files takes no memory; it tells of each file also its digest, which
is worked out as the tar comes in. Names are kept with zero bytes for slashes: their order is then that of a walk. What
names of one file have in common is a number in `shared`.
"""

import errno
import hashlib
import json
import os
import posixpath
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from .content import Content, Node
from .extract import ExtractError, Extractor, Limits
from .packer import is_kept
from .tar_reader import BLOCK_DEVICE, CHARACTER, FIFO, LINK, SYMLINK, Member, TarReader

DATA, INDEX = "data", "index"
MAX_LINKS = 40
MOST_FOLDERS = 10_000  # remembered; more are looked up again
ZEROS = bytes(1 << 20)
NEW_FOLDER = stat.S_IFDIR | 0o755
SCHEMA = """CREATE TABLE entries (
    key BLOB PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER, rdev INTEGER, size INTEGER, mtime INTEGER,
    link BLOB, place INTEGER, shared INTEGER, digest BLOB, attributes TEXT
) WITHOUT ROWID"""
COLUMNS = "key, mode, uid, gid, rdev, size, mtime, link, place, shared, digest, attributes"
Row = tuple[bytes, int, int, int, int, int, int, bytes, int, int, bytes, str]
_KINDS = {SYMLINK: stat.S_IFLNK, CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}


class SpoolFiles:
    """A spool to read from; a `content.Files`. Works from whatever root this process has, once it is made."""

    def __init__(self, folder: Path) -> None:
        self._data = os.open(folder / DATA, os.O_RDONLY | os.O_CLOEXEC)
        self._index = sqlite3.connect(f"{(folder / INDEX).as_uri()}?mode=ro&immutable=1", uri=True)
        _row(self._index, b"")  # opens the file, while its name still leads to it

    def close(self) -> None:
        """Nothing can be read any more."""
        self._index.close()
        os.close(self._data)

    def find(self, path: bytes) -> Node:
        """See Files."""
        row = resolve(self._index, path)
        return _node(path, row)

    def names(self, path: bytes) -> list[bytes]:
        """See Files."""
        folder = self._folder(path)
        found, start = [], folder + b"\1"
        query = "SELECT key FROM entries WHERE key >= ? ORDER BY key LIMIT 1"
        while row := self._index.execute(query, (start,)).fetchone():
            key: bytes = row[0]
            if not key.startswith(folder):
                break
            found.append(key[len(folder) :])
            start = key + b"\1"  # behind all that is below it
        return found

    def walk(self, path: bytes) -> Iterator[Node]:
        """See Files."""
        folder = self._folder(path)
        query = f"SELECT {COLUMNS} FROM entries WHERE key > ? AND key < ? ORDER BY key"
        for row in self._index.execute(query, (folder, folder[:-1] + b"\1" if folder else b"\xff" * 4096)):
            yield _node(row[0][len(folder) :].replace(b"\0", b"/"), row)

    def open(self, node: Node) -> Content:
        """See Files."""
        return _Stretch(self._data, node)

    def _folder(self, path: bytes) -> bytes:
        """What the keys in a folder begin with."""
        row = resolve(self._index, path)
        if not stat.S_ISDIR(row[1]):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return row[0] + b"\0" if row[0] else b""


class _Stretch:
    """A file's part of the data."""

    def __init__(self, data: int, node: Node) -> None:
        self._data = data
        self._at, self._digest, self._attributes = node.handle
        self._end = self._at + node.size

    def read(self, size: int) -> bytes:
        chunk = os.pread(self._data, min(size, self._end - self._at), self._at)
        self._at += len(chunk)
        return chunk

    def digest(self) -> bytes:
        found: bytes = self._digest
        return found

    def attributes(self) -> dict[bytes, bytes]:
        found = json.loads(self._attributes) if self._attributes else {}
        return {os.fsencode(name): bytes.fromhex(value) for name, value in found.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Spooler(Extractor):
    """Writes a tar's members into a new spool in `folder`. Later ones win, as when they are unpacked."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        super().__init__(limits, is_layer=False)
        self._data = os.open(folder / DATA, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._index = sqlite3.connect(folder / INDEX, isolation_level=None)
        for each in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", SCHEMA, "BEGIN"):
            self._index.execute(each)
        self._end = self._links = 0
        self._real: dict[bytes, bytes] = {}
        self._put(b"", NEW_FOLDER)

    def add(self, member: Member, reader: TarReader) -> None:
        """One member; the top keeps its own mode."""
        if self.path_of(member.name) != b".":
            super().add(member, reader)

    def finish(self) -> None:
        """The spool is whole."""
        self._index.execute("COMMIT")
        self._index.close()
        os.ftruncate(self._data, self._end)
        os.close(self._data)

    def _file(self, path: bytes, member: Member, body: Iterator[memoryview]) -> None:
        key, place, total = self._make_room(path), self._end, hashlib.sha256()
        for piece in body if member.sparse is None else _expanded(member, body):
            total.update(piece)
            if piece.obj is not ZEROS:  # a hole stays one
                self._write(piece)
            self._end += len(piece)
        attributes = {os.fsdecode(name): value.hex() for name, value in (member.xattrs or {}).items() if is_kept(name)}
        self._put(
            key,
            stat.S_IFREG | member.mode,
            member,
            place=place,
            digest=total.digest(),
            attributes=json.dumps(attributes) if attributes else "",
        )

    def _folder(self, path: bytes, member: Member) -> None:
        self._put(self._make_room(path, keeps_folder=True), stat.S_IFDIR | member.mode, member)

    def _special(self, path: bytes, member: Member) -> None:
        if member.kind != LINK:
            mode = 0o777 if member.kind == SYMLINK else member.mode
            self._put(self._make_room(path), _KINDS[member.kind] | mode, member)
            return
        key, target = self._make_room(path), self._key(self.path_of(member.link))
        row = _row(self._index, target)
        if row is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), member.link)
        if stat.S_ISDIR(row[1]):
            raise ExtractError(f"a hard link to a folder: {member.link[:200].decode(errors='backslashreplace')}")
        self._links += 1
        shared = row[9] or self._links
        self._index.execute("UPDATE entries SET shared = ? WHERE key = ?", (shared, target))
        self._insert((key, *row[1:9], shared, *row[10:]))

    # The index

    def _make_room(self, path: bytes, *, keeps_folder: bool = False) -> bytes:
        """The key for a new entry, with what is in its way gone."""
        key = self._key(path)
        row = _row(self._index, key)
        if row and not (keeps_folder and stat.S_ISDIR(row[1])):
            below = (key, key + b"\0", key + b"\1")
            self._index.execute("DELETE FROM entries WHERE key = ? OR (key > ? AND key < ?)", below)
            self._real.clear()
        return key

    def _key(self, path: bytes) -> bytes:
        """Where a path leads when the links above its last part are followed; missing folders are made."""
        folder, name = posixpath.split(path)
        real = self._real.get(folder)
        if real is None:
            real = self._real_folder(folder)
            if len(self._real) >= MOST_FOLDERS:
                self._real.clear()
            self._real[folder] = real
        return real + b"\0" + name if real else name

    def _real_folder(self, folder: bytes) -> bytes:
        real = b""
        for part in folder.split(b"/") if folder else ():
            key = real + b"\0" + part if real else part
            row = _row(self._index, key)
            if row is None:
                self._put(key, NEW_FOLDER)
            elif not stat.S_ISDIR(row[1]):
                key, mode = resolve(self._index, key.replace(b"\0", b"/"))[:2]
                if not stat.S_ISDIR(mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
            real = key
        return real

    def _put(
        self, key: bytes, mode: int, member: Member | None = None, *, place: int = 0, digest: bytes = b"",
        attributes: str = "",
    ) -> None:  # fmt: skip
        if member is None:
            self._insert((key, mode, 0, 0, 0, 0, time.time_ns(), b"", 0, 0, b"", ""))
            return
        link = member.link if member.kind == SYMLINK else b""
        rdev = os.makedev(member.major, member.minor)
        owner = (member.uid, member.gid)
        self._insert((key, mode, *owner, rdev, member.size, member.mtime, link, place, 0, digest, attributes))

    def _insert(self, row: Row) -> None:
        self._index.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _write(self, piece: memoryview) -> None:
        written = os.pwrite(self._data, piece, self._end)
        while written < len(piece):
            written += os.pwrite(self._data, piece[written:], self._end + written)


def resolve(index: sqlite3.Connection, path: bytes) -> Row:
    """The entry at a path, every link followed with the top as the root, as openat2(2) does with RESOLVE_IN_ROOT.

    Raises OSError.
    """
    todo, links = path.split(b"/")[::-1], 0
    here = _row(index, b"")
    assert here
    while todo:
        part = todo.pop()
        if not stat.S_ISDIR(here[1]):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if part in (b"", b"."):
            continue
        key = here[0].rpartition(b"\0")[0] if part == b".." else here[0] + b"\0" + part if here[0] else part
        found = _row(index, key) if b"\0" not in part else None
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not stat.S_ISLNK(found[1]):
            here = found
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        todo += found[7].split(b"/")[::-1]
        if found[7].startswith(b"/"):
            here = _row(index, b"")
            assert here
    return here


def _row(index: sqlite3.Connection, key: bytes) -> Row | None:
    row: Row | None = index.execute(f"SELECT {COLUMNS} FROM entries WHERE key = ?", (key,)).fetchone()
    return row


def _node(path: bytes, row: Row) -> Node:
    _, mode, uid, gid, rdev, size, mtime, link, place, shared, digest, attributes = row
    same = shared if shared and stat.S_ISREG(mode) else None
    return Node(path, mode, uid, gid, rdev, size, mtime, link, same, (place, digest, attributes))


def _expanded(member: Member, body: Iterator[memoryview]) -> Iterator[memoryview]:
    """A sparse file with its holes, which are pieces of ZEROS."""
    at, rest = 0, memoryview(b"")
    for offset, length in (*(member.sparse or ()), (member.size, 0)):
        while at < offset:
            hole = memoryview(ZEROS)[: offset - at]
            at += len(hole)
            yield hole
        end = at + length
        while at < end:
            rest = rest or next(body)
            piece, rest = rest[: end - at], rest[end - at :]
            at += len(piece)
            yield piece
