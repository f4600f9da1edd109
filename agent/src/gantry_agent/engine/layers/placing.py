"""COPY and ADD: chosen files of one tree put into another. Runs in the worker, whose root is the target.

What goes where is the Dockerfile reference's ("COPY"): the contents of a folder, not the folder itself; a file into a
folder when the destination ends in a slash, is one, or there are several sources; missing folders are made, 0755 and of
the new owner. Links in the destination's path are followed as a container would, also to what does not exist yet.
"""

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from . import copying
from .extract import ExtractError, Limits
from .packer import attributes_of
from .selection import Source, Tree, shown
from .streams import Damaged, Input, Pipeline, prepare
from .tar_reader import BLOCK_DEVICE, CHARACTER, FIFO, FILE, FOLDER, LINK, SYMLINK, Member, TarError, TarReader
from .tar_reader import Source as TarSource
from .walk import OPEN_FILE, Found

READ = 1 << 20  # bytes
NEW_FOLDER = 0o755
SECOND = 10**9
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFDIR: FOLDER,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}


@dataclass(frozen=True)
class Order:
    """One COPY or ADD."""

    target: bytes
    """Absolute; a slash at its end says that it is a folder."""
    owner: tuple[int, int] | None = None
    """--chown; None: root, unless `keeps_owner`."""
    mode: int | None = None
    """--chmod; None: each its own."""
    keeps_owner: bool = False
    """Whether files of another stage or image keep theirs."""
    keeps_path: bool = False
    """--parents."""
    unpacks: bool = False
    """ADD's way with archives."""
    latest: int | None = None
    """The newest time a file may have, in seconds since the epoch: SOURCE_DATE_EPOCH."""


class Placer(copying.FolderExtractor):
    """Writes what it is given below the current folder, which is `base`."""

    def __init__(self, limits: Limits, order: Order, base: bytes) -> None:
        super().__init__(limits, keeps_kinds=True, owner=order.owner, base=base)
        self._order = order
        self._seen: dict[tuple[int, int], bytes] = {}

    def file(self, name: bytes, file: int) -> None:
        """One regular file from a descriptor. Raises ExtractError, OSError."""
        found = os.fstat(file)
        member = self._member(name, found)
        self.check_kind(name, is_folder=False)
        if found.st_nlink > 1:
            first = self._seen.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                member.kind, member.link = LINK, first
                self._special(name, member)
                return
        self.size += member.size
        if self.size > self.limits.size:
            raise ExtractError(f"more than {self.limits.size} bytes")
        member.xattrs = attributes_of(file)
        self._file(name, member, _pieces(file))

    def other(self, found: Found) -> None:
        """A folder, link, device or pipe of a walk. A socket is passed over: no layer can hold it."""
        if stat.S_ISSOCK(found.stat.st_mode):
            return
        member = self._member(found.path, found.stat)
        self.check_kind(found.path, is_folder=found.is_folder)
        if found.is_folder:
            self._folder(found.path, member)
            return
        if member.kind == SYMLINK:
            member.link = os.readlink(found.name, dir_fd=found.folder)
        self._special(found.path, member)

    def add(self, member: Member, reader: TarReader) -> None:
        """One member of an archive."""
        if self._order.latest is not None:
            member.mtime = min(member.mtime, self._order.latest * SECOND)
        super().add(member, reader)

    def _member(self, name: bytes, found: os.stat_result) -> Member:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise ExtractError(f"more than {self.limits.entries} entries")
        order, member = self._order, Member()
        member.name, member.kind, member.size = name, _KINDS[stat.S_IFMT(found.st_mode)], found.st_size
        member.mode = found.st_mode & 0o7777 if order.mode is None else order.mode
        if order.owner or order.keeps_owner:
            member.uid, member.gid = order.owner or (found.st_uid, found.st_gid)
        member.mtime = found.st_mtime_ns
        if order.latest is not None:
            member.mtime = min(member.mtime, order.latest * SECOND)
        member.major, member.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
        return member


def place(tree: Tree, sources: Sequence[Source], order: Order, limits: Limits) -> None:
    """Copy the sources into this process' root. Raises ExtractError, TarError, Damaged, OSError."""
    if len(sources) > 1 and not order.target.endswith(b"/"):
        raise ExtractError("several sources: the destination must be a directory and end with a /")
    for source in sources:
        if source.is_folder:
            _folder(tree, source, order, limits)
        elif order.unpacks and _is_archive(tree, source):
            _archive(tree, source, order, limits)
        else:
            _one(tree, source, order, limits, into_folder=len(sources) > 1)


def _folder(tree: Tree, source: Source, order: Order, limits: Limits) -> None:
    """The contents of a folder."""
    target = posixpath.join(order.target, source.path) if order.keeps_path else order.target
    placer = Placer(limits, order, _enter(target, order))
    for found in tree.below(source):
        if not stat.S_ISREG(found.stat.st_mode):
            placer.other(found)
            continue
        file = os.open(found.name, OPEN_FILE, dir_fd=found.folder)
        try:
            placer.file(found.path, file)
        finally:
            os.close(file)
    placer.finish()


def _one(tree: Tree, source: Source, order: Order, limits: Limits, *, into_folder: bool) -> None:
    """A single file, under its own name or the one the target says."""
    if not stat.S_ISREG(source.stat.st_mode):
        raise ExtractError(f"{shown(source.path)} is neither a file nor a folder")
    target, name = order.target, source.name
    if order.keeps_path:
        target = posixpath.join(target, posixpath.dirname(source.path))
    elif not (into_folder or target.endswith(b"/") or os.path.isdir(target)):
        target, name = posixpath.split(copying.real_path(target))
    placer = Placer(limits, order, _enter(target, order))
    file = tree.open(source)
    try:
        placer.file(name, file)
    finally:
        os.close(file)
    placer.finish()


def _is_archive(tree: Tree, source: Source) -> bool:
    """Whether a file is a tar, compressed or not, with at least one entry (Docker: archive.IsArchivePath)."""
    if not stat.S_ISREG(source.stat.st_mode):
        return False
    file = tree.open(source)
    try:
        chunks = prepare(Input(file))()
        return next(iter(TarReader(TarSource(lambda: next(chunks, b"")))), None) is not None
    except (TarError, Damaged):
        return False
    finally:
        os.close(file)


def _archive(tree: Tree, source: Source, order: Order, limits: Limits) -> None:
    """The contents of a local archive. Owners are the archive's; --chown is for the folders made for it (BuildKit)."""
    target = _enter(order.target, order)
    file = tree.open(source)
    try:
        given = Input(file)
        extractor = Placer(limits, replace(order, owner=None), target)
        extractor.extract(TarReader(TarSource(Pipeline(given, limits, prepare(given)).more)))
    finally:
        os.close(file)


def new_owner(text: str) -> tuple[int, int]:
    """The ids that --chown means. A number alone is the group too, a name alone brings the group of its user.

    Raises ExtractError.
    """
    return copying.owner_of(f"{text}:{text}" if text.isdigit() else text)


def make_folder(target: bytes, *, owner: tuple[int, int] = (0, 0), latest: int | None = None) -> bytes:
    """Make the folder `target`, and those above it, where they are missing; where it really is, links followed.

    What is there keeps its owner and mode. Raises ExtractError where something else is in the way.
    """
    real = copying.real_path(target)
    at = 0
    while at >= 0:
        at = real.find(b"/", at + 1)
        folder = real[:at] if at > 0 else real
        try:
            os.mkdir(folder, NEW_FOLDER)
        except FileExistsError:
            continue
        except NotADirectoryError:
            break
        os.chown(folder, *owner, follow_symlinks=False)
        if latest is not None:
            os.utime(folder, (latest, latest), follow_symlinks=False)
    if not os.path.isdir(real):
        raise ExtractError(f"cannot copy to non-directory: {shown(real)}")
    return real


def _enter(target: bytes, order: Order) -> bytes:
    """Make a folder, and the current one; where it really is. Raises ExtractError."""
    real = make_folder(target, owner=order.owner or (0, 0), latest=order.latest)
    os.chdir(real)
    return real


def _pieces(file: int) -> Iterator[memoryview]:
    while chunk := os.read(file, READ):
        yield memoryview(chunk)
