"""Write the members of a tar below the current root. Runs in the worker, whose root is the target.

Two ways of writing. A layer goes into an empty folder nobody else sees, with AUFS-style whiteouts (`.wh.name`,
`.wh..wh..opq`; OCI image-spec, "Image Layer Filesystem Changeset") turned into overlayfs' own: a character device 0:0,
and the attribute trusted.overlay.opaque. An archive (docker cp) is merged into a tree that may be in use.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from .tar_reader import (
    BLOCK_DEVICE,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    LINK,
    SYMLINK,
    Member,
    TarReader,
)

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
OVERLAY_ATTRIBUTES = (b"trusted.overlay.", b"user.overlay.")
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_PARENT_MODE = 0o755
REMEMBERED_FOLDERS = 200_000  # whose times are set at the end; more would take too much memory


class ExtractError(Exception):
    """The archive asks for something that is refused; the message says what."""


class Limits(NamedTuple):
    """What one archive may unpack to."""

    size: int = 32 << 30  # bytes of file content
    entries: int = 5_000_000
    ratio: int = 200  # unpacked bytes per compressed byte, beyond `slack`
    slack: int = 1 << 30  # bytes any archive may unpack to, however small it came
    path: int = 4095  # bytes of a name
    depth: int = 512  # folders in a name


class Extractor:
    """Writes members one by one; `finish` sets the folders' times."""

    def __init__(self, limits: Limits, *, is_layer: bool = True) -> None:
        self.limits = limits
        self.size = 0
        self.entries = 0
        self._is_layer = is_layer
        self._folders: dict[bytes, int] = {}
        self._always_own = not is_layer  # a folder with the set-group-id bit hands its group on to new files

    def extract(self, reader: TarReader) -> None:
        """Write everything. Raises ExtractError, TarError, OSError."""
        for member in reader:
            self.entries += 1
            if self.entries > self.limits.entries:
                raise ExtractError(f"more than {self.limits.entries} entries")
            self.add(member, reader)
        self.finish()

    def add(self, member: Member, reader: TarReader) -> None:
        """Write one member."""
        path = self.path_of(member.name)
        if self._is_layer:
            base = path[path.rfind(b"/") + 1 :]
            if base.startswith(WHITEOUT):
                self._whiteout(path, base)
                return
        if member.kind == FILE:
            self.size += member.size
            if self.size > self.limits.size:
                raise ExtractError(f"more than {self.limits.size} bytes")
            self._file(path, member, reader.body())
        elif member.kind == FOLDER:
            self._folder(path, member)
        else:
            self._special(path, member)

    def finish(self) -> None:
        """Set the times of the folders, children before parents."""
        for path in sorted(self._folders, reverse=True):
            self._set_time(path, self._folders[path])
        self._folders.clear()

    def path_of(self, name: bytes) -> bytes:
        """A member's name as a relative path, "." for the root. Raises ExtractError."""
        path = name.strip(b"/")
        if path.startswith(b"./"):
            path = path[2:]
        if b"./" in path or b"//" in path or path.endswith((b"/.", b"..")) or path in (b"", b"."):
            path = os.path.normpath(b"./" + path)
            if path == b".." or path.startswith(b"../"):
                raise ExtractError(f"the entry {_shown(name)} leaves the root")
        if len(path) > self.limits.path or path.count(b"/") >= self.limits.depth:
            raise ExtractError(f"the entry {_shown(name)} lies too deep")
        return path

    # Kinds of members

    def _file(self, path: bytes, member: Member, body: Iterator[memoryview]) -> None:
        mode = member.mode
        descriptor = self._make(path, lambda: os.open(path, NEW_FILE, mode))
        try:
            if member.sparse is None:
                for piece in body:
                    _write_all(descriptor, piece)
            else:
                _write_sparse(descriptor, member, body)
            if member.uid or member.gid or self._always_own:
                os.fchown(descriptor, member.uid, member.gid)
                if mode & 0o6000:
                    os.fchmod(descriptor, mode)
            if member.xattrs:
                _set_xattrs(descriptor, member.xattrs)
            os.utime(descriptor, ns=(member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _folder(self, path: bytes, member: Member) -> None:
        if path != b".":
            self._make(path, lambda: os.mkdir(path, member.mode), keeps_folder=True)
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        os.chmod(path, member.mode)
        if member.mode & stat.S_ISGID:
            self._always_own = True
        if member.xattrs:
            _set_xattrs(path, member.xattrs)
        if len(self._folders) < REMEMBERED_FOLDERS:
            self._folders[path] = member.mtime

    def _special(self, path: bytes, member: Member) -> None:
        if path == b".":
            raise ExtractError("an entry replaces the root by something that is no folder")
        if member.kind == LINK:
            target = self.path_of(member.link)
            self._make(path, lambda: self._link(target, path))
            return
        self._make(path, lambda: _make_special(path, member))
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if member.kind != SYMLINK and member.mode & 0o6000:
            os.chmod(path, member.mode)
        if member.xattrs:
            _set_xattrs(path, member.xattrs)
        self._set_time(path, member.mtime)

    def _link(self, target: bytes, path: bytes) -> None:
        if self._is_layer and _is_whiteout(target):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target)
        os.link(target, path, follow_symlinks=False)

    def _set_time(self, path: bytes, time: int) -> None:
        try:
            os.utime(path, ns=(time, time), follow_symlinks=False)
        except FileNotFoundError:
            if self._is_layer:  # a folder of this archive that a later member of it replaced
                return
            raise

    # Whiteouts

    def _whiteout(self, path: bytes, base: bytes) -> None:
        """Apply a whiteout. It hides what lower layers have, never what this layer itself brings."""
        folder = path[: -len(base)]
        if base == OPAQUE:
            self._parents(folder + b"x")
            _make_opaque(folder or b".")
            return
        if base.startswith(WHITEOUT + WHITEOUT):
            return  # AUFS' own notes
        hidden = base[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise ExtractError(f"the whiteout {_shown(path)} names nothing that could be hidden")
        target = folder + hidden
        self._parents(target)
        try:
            os.mknod(target, stat.S_IFCHR, 0)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(target).st_mode):
                _make_opaque(target)

    # Making room

    def _make(self, path: bytes, make, keeps_folder: bool = False):  # type: ignore[no-untyped-def]
        """`make()` something at `path`, creating parents and removing what is in the way."""
        try:
            return make()
        except FileNotFoundError:
            self._parents(path)
        except NotADirectoryError:
            if not self._is_layer:
                raise
            self._parents(path)
        except FileExistsError:
            pass
        try:
            return make()
        except FileExistsError:
            was_whiteout = self._clear(path, keeps_folder)
        if was_whiteout is None:
            return None
        made = make()
        if was_whiteout and keeps_folder:
            _make_opaque(path)
        return made

    def _clear(self, path: bytes, keeps_folder: bool) -> bool | None:
        """Remove what is at `path`: whether it was a whiteout; None when it is a folder and stays."""
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            if keeps_folder:
                return None
            remove_tree(path)
            return False
        os.unlink(path)
        return self._is_layer and _is_whiteout_stat(found)

    def _parents(self, path: bytes) -> None:
        """Create the folders above `path` that the archive does not name."""
        at = path.find(b"/")
        while at >= 0:
            folder = path[:at]
            try:
                os.mkdir(folder, NEW_PARENT_MODE)
            except FileExistsError:
                if self._is_layer and _is_whiteout(folder):
                    os.unlink(folder)
                    os.mkdir(folder, NEW_PARENT_MODE)
                    _make_opaque(folder)
            at = path.find(b"/", at + 1)


def remove_tree(path: bytes) -> None:
    """Remove a folder and all in it, without following links and without recursion."""
    stack = [path]
    while stack:
        folder = stack[-1]
        with os.scandir(folder) as entries:
            below = []
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                else:
                    os.unlink(entry.path)
        if below:
            stack += below
        else:
            os.rmdir(folder)
            stack.pop()


def _make_special(path: bytes, member: Member) -> None:
    if member.kind == SYMLINK:
        os.symlink(member.link, path)
    elif member.kind == FIFO:
        os.mkfifo(path, member.mode)
    else:
        kind = stat.S_IFCHR if member.kind == CHARACTER else stat.S_IFBLK
        assert member.kind in (CHARACTER, BLOCK_DEVICE)
        os.mknod(path, kind | member.mode, os.makedev(member.major, member.minor))


def _write_all(descriptor: int, piece: memoryview) -> None:
    written = os.write(descriptor, piece)
    while written < len(piece):
        written += os.write(descriptor, piece[written:])


def _write_sparse(descriptor: int, member: Member, body: Iterator[memoryview]) -> None:
    fragments = iter(member.sparse or ())
    left = 0
    for piece in body:
        while piece:
            while not left:
                offset, left = next(fragments)
                os.lseek(descriptor, offset, os.SEEK_SET)
            _write_all(descriptor, piece[:left])
            taken = min(left, len(piece))
            left -= taken
            piece = piece[taken:]
    os.ftruncate(descriptor, member.size)


def _set_xattrs(target: int | bytes, xattrs: dict[bytes, bytes]) -> None:
    """Set attributes, as far as the filesystem has them; overlayfs' own are not an archive's to set."""
    for name, value in xattrs.items():
        if name.startswith(OVERLAY_ATTRIBUTES):
            continue
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _make_opaque(folder: bytes) -> None:
    os.setxattr(folder, OPAQUE_ATTRIBUTE, b"y", follow_symlinks=False)


def _is_whiteout(path: bytes) -> bool:
    try:
        return _is_whiteout_stat(os.lstat(path))
    except OSError:
        return False


def _is_whiteout_stat(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _shown(name: bytes) -> str:
    return repr(name[:200].decode(errors="backslashreplace"))
