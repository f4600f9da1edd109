"""`docker cp` inside the container's root: stat, read, write. Runs in the worker, after it has entered the view.

The meaning of paths is Docker's (daemon/archive.go): links are followed as the container sees them, the last part of a
path is not unless it ends in / or /., and what is sent is named after the last part as it was asked for.
"""

import errno
import os
import posixpath
import stat
from typing import Any

from .extract import ExtractError, Extractor, Limits
from .namespaces import open_in_root
from .packer import Packer
from .tar_reader import TarReader
from .walk import OPEN_FOLDER, Found

PATH_ONLY = os.O_PATH | os.O_CLOEXEC
MAX_LINKS = 40
MAX_PASSWD = 4 << 20  # bytes read of the container's /etc/passwd

_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}


def stat_path(path: bytes) -> dict[str, Any]:
    """Docker's ContainerPathStat. Raises OSError."""
    root = _root()
    absolute = absolute_of(path)
    folder, name = _resolve(root, absolute)
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    target = b""
    if stat.S_ISLNK(found.st_mode):
        target = real_path(absolute)
    return {
        "name": _text(_base(absolute)),
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": found.st_mtime_ns,
        "linkTarget": _text(target),
    }


def read_path(path: bytes, out: int) -> None:
    """Write the tar of one path to the descriptor `out`. Raises OSError."""
    root = _root()
    absolute = absolute_of(path)
    folder, name = _resolve(root, absolute)
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    shown = _base(absolute)
    packer = Packer(out)
    packer.entry(Found(name, folder, name, found, -1), shown)
    if stat.S_ISDIR(found.st_mode):
        below = os.open(name, OPEN_FOLDER if name != b"." else os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        packer.tree(below, shown.rstrip(b"/") + b"/")
    packer.end()


class FolderExtractor(Extractor):
    """Merges an archive into a folder, by Docker's rules of who replaces whom."""

    def __init__(self, limits: Limits, *, keeps_kinds: bool, owner: tuple[int, int] | None, base: bytes) -> None:
        super().__init__(limits, is_layer=False)
        self._keeps_kinds = keeps_kinds
        self._owner = owner
        self._base = base

    def add(self, member: Any, reader: TarReader) -> None:
        """Write one member, unless it would turn a folder into something else where that is not wanted."""
        path = self.path_of(member.name)
        if path == b".":
            return
        if self._owner:
            member.uid, member.gid = self._owner
        if self._keeps_kinds:
            self.check_kind(path, is_folder=member.kind == b"5")
        super().add(member, reader)

    def check_kind(self, path: bytes, *, is_folder: bool) -> None:
        """Raises ExtractError where a folder would become something else, or the reverse."""
        try:
            was_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            return
        shown = _text(posixpath.join(self._base, path))
        if was_folder and not is_folder:
            raise ExtractError(f'cannot overwrite directory "{shown}" with non-directory')
        if is_folder and not was_folder:
            raise ExtractError(f'cannot overwrite non-directory "{shown}" with directory')


def open_target(path: bytes) -> None:
    """Make the folder at `path`, links followed, the current one. Raises OSError."""
    os.fchdir(open_in_root(_root(), absolute_of(path), PATH_ONLY | os.O_DIRECTORY))


def owner_of(user: str) -> tuple[int, int]:
    """The ids of `user[:group]`, as the container's own /etc/passwd and group say. Raises ExtractError."""
    name, _, group = user.partition(":")
    uid, gid = (int(name), 0) if name.isdigit() else (-1, 0)
    for fields in _table(b"etc/passwd", 7):
        if name in (fields[0], fields[2]):
            uid, gid = int(fields[2]), int(fields[3])
            break
    if group:
        gids = [int(fields[2]) for fields in _table(b"etc/group", 4) if group in (fields[0], fields[2])]
        gid = gids[0] if gids else int(group) if group.isdigit() else -1
    if uid < 0 or gid < 0:
        raise ExtractError(f"unable to find user {user}: no matching entries in the container's files")
    return uid, gid


def absolute_of(path: bytes) -> bytes:
    """The path from the root, cleaned, with the / or /. at its end kept."""
    clean = posixpath.normpath(b"/" + path.lstrip(b"/"))
    if path.endswith(b"/.") or path == b".":
        return clean.rstrip(b"/") + b"/."
    return clean if clean == b"/" or not path.endswith(b"/") else clean + b"/"


def go_mode(mode: int) -> int:
    """st_mode as Go's os.FileMode."""
    found = mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    for bit, go_bit in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        found |= go_bit if mode & bit else 0
    return found


def _resolve(root: int, absolute: bytes) -> tuple[int, bytes]:
    """The folder a path lies in, and its name there; "." when the path itself means a folder."""
    folder, name = posixpath.split(absolute)
    if name in (b"", b"."):
        return open_in_root(root, folder or b"/", PATH_ONLY | os.O_DIRECTORY), b"."
    return open_in_root(root, folder, PATH_ONLY | os.O_DIRECTORY), name


def real_path(path: bytes) -> bytes:
    """Where a path leads with every link followed; parts that do not exist stay as they are. Raises OSError."""
    root = _root()
    todo, done, links = path.strip(b"/").split(b"/")[::-1], b"/", 0
    while todo:
        part = todo.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            done = posixpath.dirname(done)
            continue
        step = posixpath.join(done, part)
        try:
            holder = open_in_root(root, done, PATH_ONLY | os.O_DIRECTORY)
            target = os.readlink(part, dir_fd=holder)
            os.close(holder)
        except OSError:
            done = step
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done = b"/" if target.startswith(b"/") else done
        todo += target.strip(b"/").split(b"/")[::-1]
    return done


def _table(path: bytes, width: int) -> list[list[str]]:
    try:
        descriptor = open_in_root(_root(), path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return []
        lines = file.read(MAX_PASSWD).decode(errors="replace").splitlines()
    rows = [line.split(":") for line in lines]
    numbers = (2, 3) if width == 7 else (2,)
    return [row for row in rows if len(row) >= width and all(row[at].isdigit() for at in numbers)]


def _root() -> int:
    return os.open("/", PATH_ONLY | os.O_DIRECTORY)


def _base(absolute: bytes) -> bytes:
    """Go's filepath.Base."""
    return absolute.rstrip(b"/").rpartition(b"/")[2] or b"/"


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
