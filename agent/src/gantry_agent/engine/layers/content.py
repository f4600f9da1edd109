"""Files to copy from, wherever they lie: in a folder of the host, or in a spool (`spool.py`). Runs in the worker.

Links in a path are followed with the tree's top as the root, so none leads out; what is walked below a folder is told
as it is, links as links.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol, Self

from .namespaces import open_in_root
from .packer import attributes_of
from .walk import OPEN_FILE, walk

READ = 1 << 20  # bytes
PATH_ONLY = os.O_PATH | os.O_CLOEXEC
TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


class Node(NamedTuple):
    """One thing in a tree. `path` is relative to where the walk began, or as it was asked for."""

    path: bytes
    mode: int
    """With its kind, as in st_mode."""
    uid: int
    gid: int
    rdev: int
    size: int
    mtime: int
    """Nanoseconds since the epoch."""
    link: bytes
    """Where a symbolic link leads."""
    same: object
    """Equal for the names of one file; None where it has no other."""
    handle: Any
    """What its tree opens it by."""

    @property
    def name(self) -> bytes:
        return posixpath.basename(self.path)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


class Content(Protocol):
    """An open file; a context manager."""

    def read(self, size: int) -> bytes:
        """The next bytes, b"" at the end."""

    def digest(self) -> bytes:
        """SHA-256 of all of it, instead of reading it."""

    def attributes(self) -> dict[bytes, bytes]:
        """Its extended attributes, those that belong to the file and not to the host."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Files(Protocol):
    """A tree. Methods raise OSError: FileNotFoundError, NotADirectoryError, or ELOOP."""

    def find(self, path: bytes) -> Node:
        """What is at a path, b"" for the top, links followed."""

    def names(self, path: bytes) -> list[bytes]:
        """What is in a folder, in order."""

    def walk(self, path: bytes) -> Iterator[Node]:
        """All below a folder, in order of names, a folder before what is in it."""

    def open(self, node: Node) -> Content:
        """A file that `find` or `walk` has told of; for `walk`, while it stands there."""


def pieces(content: Content) -> Iterator[memoryview]:
    """A file's content."""
    while chunk := content.read(READ):
        yield memoryview(chunk)


class FolderFiles:
    """A folder by a descriptor of it; works from whatever root this process has."""

    def __init__(self, root: int) -> None:
        self._root = root

    def find(self, path: bytes) -> Node:
        """See Files."""
        real = open_in_root(self._root, path or b".", PATH_ONLY)
        try:
            return _node(path, os.fstat(real), partial(open_in_root, self._root, path, TO_READ))
        finally:
            os.close(real)

    def names(self, path: bytes) -> list[bytes]:
        """See Files."""
        folder = open_in_root(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(map(os.fsencode, os.listdir(folder)))
        finally:
            os.close(folder)

    def walk(self, path: bytes) -> Iterator[Node]:
        """See Files."""
        folder = open_in_root(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            for found in walk(folder):
                here, name = found.folder, found.name
                link = os.readlink(name, dir_fd=here) if stat.S_ISLNK(found.stat.st_mode) else b""
                yield _node(found.path, found.stat, partial(os.open, name, OPEN_FILE, dir_fd=here), link)
        finally:
            os.close(folder)

    def open(self, node: Node) -> Content:
        """See Files."""
        return _Opened(node.handle())


class _Opened:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def digest(self) -> bytes:
        total = hashlib.sha256()
        while chunk := os.read(self._descriptor, READ):
            total.update(chunk)
        return total.digest()

    def attributes(self) -> dict[bytes, bytes]:
        return attributes_of(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _node(path: bytes, found: os.stat_result, handle: Callable[[], int], link: bytes = b"") -> Node:
    same = (found.st_dev, found.st_ino) if found.st_nlink > 1 else None
    return Node(
        path,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_rdev,
        found.st_size,
        found.st_mtime_ns,
        link,
        same,
        handle,
    )
