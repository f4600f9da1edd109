"""Write a tree to standard output as a tar. Runs in the worker."""

import errno
import os
import stat
from collections.abc import Callable

from . import tar_writer
from .extract import OPAQUE, OPAQUE_ATTRIBUTE, OVERLAY_ATTRIBUTES, WHITEOUT
from .tar_writer import FILE, FOLDER, LINK, SYMLINK, Facts, facts_of
from .walk import OPEN_FILE, OPEN_FOLDER, Found, walk

BUFFER = 256 << 10  # bytes collected before they are written
SMALL = 64 << 10  # files up to this size are read; larger ones the kernel moves itself
KEPT_ATTRIBUTES = (b"user.", b"security.capability")
LEFT_ATTRIBUTES = (*OVERLAY_ATTRIBUTES, b"security.selinux")  # the host's own


class Packer:
    """Collects entries and writes them to a descriptor."""

    def __init__(self, out: int, latest: int | None = None) -> None:
        self._latest = latest
        """The newest time told of anything, in seconds since the epoch."""
        self.entries = 0
        self.size = 0
        """Bytes of files' content."""
        self.is_exact = True
        """Whether unpacking the archive would give the tree that was packed, and not a little less."""
        self._out = out
        self._buffer = bytearray()
        self._seen: dict[tuple[int, int], bytes] = {}

    def tree(self, folder: int, prefix: bytes = b"", rename: Callable[[bytes], bytes] = bytes) -> None:
        """Everything below an open folder."""
        for found in walk(folder, prefix):
            self.entry(found, rename(found.path))

    def changes(self, folder: int, lowers: int = -1) -> None:
        """The upper folder of an overlay as a layer. With the tree of the `lowers`, folders that are new are told from
        folders that replace one: only those need the mark that hides what was below.
        """
        for found in walk(folder, other=lowers):
            parent, name = found.path[: -len(found.name)], found.name
            if found.is_whiteout:
                self._mark(parent + WHITEOUT + name, found.stat)
            elif name.startswith(WHITEOUT):
                self.is_exact = False  # a layer has no way to say that a file is called so
            else:
                self.entry(found, found.path)
                if found.is_folder and is_opaque(found) and (lowers < 0 or _has_folder(found.below, name)):
                    self._mark(found.path + b"/" + OPAQUE, found.stat)

    def entry(self, found: Found, name: bytes) -> None:
        """One thing with its content. What vanished meanwhile, and sockets, are left out."""
        kind = tar_writer.KINDS.get(stat.S_IFMT(found.stat.st_mode))
        if kind is None:
            self.is_exact = False
            return
        try:
            if kind == FILE:
                self._file(found, name)
            elif kind == FOLDER:
                self._folder(found, name)
            elif not self._linked(found.stat, name):
                target = os.readlink(found.name, dir_fd=found.folder) if kind == SYMLINK else b""
                self._head(name, kind, facts_of(found.stat), link=target)
        except FileNotFoundError:
            return
        except OSError as exc:
            if exc.errno != errno.ELOOP:  # a link took the file's place
                raise

    def end(self) -> None:
        """Finish the archive."""
        self._add(tar_writer.END)
        self._flush()

    def _file(self, found: Found, name: bytes) -> None:
        descriptor = os.open(found.name, OPEN_FILE, dir_fd=found.folder)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or self._linked(status, name):
                return
            self._head(name, FILE, facts_of(status), xattrs=self._attributes(descriptor))
            self._content(descriptor, status.st_size)
        finally:
            os.close(descriptor)

    def _content(self, descriptor: int, size: int) -> None:
        """Exactly `size` bytes, however the file changes meanwhile."""
        left = size
        if size <= SMALL:
            content = os.read(descriptor, size) if size else b""
            self._buffer += content
            left -= len(content)
        else:
            self._flush()
            while left and (sent := os.sendfile(self._out, descriptor, None, left)):
                left -= sent
        while left:
            self._add(bytes(min(left, BUFFER)))
            left -= min(left, BUFFER)
        self._add(tar_writer.padding(size))

    def _folder(self, found: Found, name: bytes) -> None:
        descriptor = os.open(found.name, OPEN_FOLDER, dir_fd=found.folder)
        try:
            xattrs = self._attributes(descriptor)
        finally:
            os.close(descriptor)
        self._head(name.rstrip(b"/") + b"/", FOLDER, facts_of(found.stat), xattrs=xattrs)

    def _linked(self, status: os.stat_result, name: bytes) -> bool:
        """Write a hard link when the same file was written before."""
        if status.st_nlink < 2:
            return False
        first = self._seen.setdefault((status.st_dev, status.st_ino), name)
        if first == name:
            return False
        self._head(name, LINK, facts_of(status), link=first)
        return True

    def _mark(self, name: bytes, like: os.stat_result) -> None:
        """An empty file that says something by its name; owned by root, as Docker makes them."""
        self._head(name, FILE, Facts(0o600, mtime=facts_of(like).mtime))

    def _head(
        self, name: bytes, kind: bytes, facts: Facts, *, link: bytes = b"", xattrs: dict[bytes, bytes] | None = None
    ) -> None:
        if self._latest is not None and facts.mtime > self._latest:
            facts, self.is_exact = facts._replace(mtime=self._latest), False
        self.entries += 1
        self.size += facts.size if kind == FILE else 0
        self._add(tar_writer.header(name, kind, facts, link=link, xattrs=xattrs))

    def _attributes(self, descriptor: int) -> dict[bytes, bytes]:
        kept = attributes_of(descriptor)
        if self.is_exact:
            names = (os.fsencode(name) for name in os.listxattr(descriptor))
            self.is_exact = all(name in kept or name.startswith(LEFT_ATTRIBUTES) for name in names)
        return kept

    def _add(self, content: bytes) -> None:
        self._buffer += content
        if len(self._buffer) >= BUFFER:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(self._buffer)
        while view:
            view = view[os.write(self._out, view) :]
        view.release()
        self._buffer = bytearray()


def is_kept(name: bytes) -> bool:
    """Whether an attribute belongs to the file, not to the host it lies on."""
    return name.startswith(KEPT_ATTRIBUTES) and not name.startswith(OVERLAY_ATTRIBUTES)


def attributes_of(descriptor: int) -> dict[bytes, bytes]:
    """The attributes that belong to the file, not to the host it lies on."""
    try:
        names = [os.fsencode(name) for name in os.listxattr(descriptor)]
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:
            return {}
        raise
    kept = {}
    for name in names:
        if is_kept(name):
            kept[name] = os.getxattr(descriptor, name)
    return kept


def is_opaque(found: Found) -> bool:
    """Whether a folder of an upper layer hides what lower layers have in it."""
    return is_opaque_at(found.folder, found.name)


def is_opaque_at(folder: int, name: bytes) -> bool:
    """The same, of the folder `name` in an open one."""
    descriptor = os.open(name, OPEN_FOLDER, dir_fd=folder)
    try:
        return os.getxattr(descriptor, OPAQUE_ATTRIBUTE) == b"y"
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _has_folder(parent: int, name: bytes) -> bool:
    if parent < 0:
        return False
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
