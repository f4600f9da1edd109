"""COPY and ADD: chosen files of one tree put into another. Runs in the worker, whose root is the target.

What goes where is the Dockerfile reference's ("COPY"): the contents of a folder, not the folder itself; a file into a
folder when the destination ends in a slash, is one, or there are several sources; missing folders are made, 0755 and of
the new owner. Links in the destination's path are followed as a container would, also to what does not exist yet.
"""

import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import copying
from .content import Files, Node, pieces
from .extract import ExtractError, Limits
from .selection import Source, Tree, shown
from .streams import Damaged, Input, Pipeline, prepare
from .tar_reader import BLOCK_DEVICE, CHARACTER, FIFO, FILE, FOLDER, LINK, SYMLINK, Member, TarError, TarReader
from .tar_reader import Source as TarSource

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
        self._seen: dict[object, bytes] = {}

    def put(self, name: bytes, node: Node, files: Files) -> None:
        """One thing of a tree. A socket is passed over: no layer can hold it. Raises ExtractError, OSError."""
        if stat.S_ISSOCK(node.mode):
            return
        member = self._member(name, node)
        self.check_kind(name, is_folder=node.is_folder)
        if node.is_file:
            self._regular(name, node, member, files)
        elif node.is_folder:
            self._folder(name, member)
        else:
            member.link = node.link
            self._special(name, member)

    def _regular(self, name: bytes, node: Node, member: Member, files: Files) -> None:
        first = self._seen.setdefault(node.same, name) if node.same else name
        if first != name:
            member.kind, member.link = LINK, first
            self._special(name, member)
            return
        self.size += member.size
        if self.size > self.limits.size:
            raise ExtractError(f"more than {self.limits.size} bytes")
        with files.open(node) as file:
            member.xattrs = file.attributes()
            self._file(name, member, pieces(file))

    def add(self, member: Member, reader: TarReader) -> None:
        """One member of an archive."""
        if self._order.latest is not None:
            member.mtime = min(member.mtime, self._order.latest * SECOND)
        super().add(member, reader)

    def _member(self, name: bytes, node: Node) -> Member:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise ExtractError(f"more than {self.limits.entries} entries")
        order, member = self._order, Member()
        member.name, member.kind, member.size = name, _KINDS[stat.S_IFMT(node.mode)], node.size
        member.mode = node.mode & 0o7777 if order.mode is None else order.mode
        if order.owner or order.keeps_owner:
            member.uid, member.gid = order.owner or (node.uid, node.gid)
        member.mtime = node.mtime
        if order.latest is not None:
            member.mtime = min(member.mtime, order.latest * SECOND)
        member.major, member.minor = os.major(node.rdev), os.minor(node.rdev)
        return member


def place(tree: Tree, sources: Sequence[Source], order: Order, limits: Limits) -> None:
    """Copy the sources into this process' root. Raises ExtractError, TarError, Damaged, OSError."""
    if len(sources) > 1 and not order.target.endswith(b"/"):
        raise ExtractError("several sources: the destination must be a directory and end with a /")
    for source in sources:
        if source.is_folder:
            _folder(tree, source, order, limits)
        elif order.unpacks and _is_archive(tree, source.node):
            _archive(tree, source.node, order, limits)
        else:
            _one(tree, source, order, limits, into_folder=len(sources) > 1)


def _folder(tree: Tree, source: Source, order: Order, limits: Limits) -> None:
    """The contents of a folder."""
    target = posixpath.join(order.target, source.kept) if order.keeps_path else order.target
    placer = Placer(limits, order, _enter(target, order))
    for found in tree.below(source.node):
        placer.put(found.path, found, tree.files)
    placer.finish()


def _one(tree: Tree, source: Source, order: Order, limits: Limits, *, into_folder: bool) -> None:
    """A single file, under its own name or the one the target says."""
    node = source.node
    if not node.is_file:
        raise ExtractError(f"{shown(node.path)} is neither a file nor a folder")
    target, name = order.target, node.name
    if order.keeps_path:
        target = posixpath.join(target, posixpath.dirname(source.kept))
    elif not (into_folder or target.endswith(b"/") or os.path.isdir(target)):
        target, name = posixpath.split(copying.real_path(target))
    placer = Placer(limits, order, _enter(target, order))
    placer.put(name, node, tree.files)
    placer.finish()


def _is_archive(tree: Tree, source: Node) -> bool:
    """Whether a file is a tar, compressed or not, with at least one entry (Docker: archive.IsArchivePath)."""
    if not source.is_file:
        return False
    with tree.files.open(source) as file:
        try:
            chunks = prepare(Input(file.read))()
            return next(iter(TarReader(TarSource(lambda: next(chunks, b"")))), None) is not None
        except (TarError, Damaged):
            return False


def _archive(tree: Tree, source: Node, order: Order, limits: Limits) -> None:
    """The contents of a local archive. Owners are the archive's; --chown is for the folders made for it (BuildKit)."""
    target = _enter(order.target, order)
    with tree.files.open(source) as file:
        given = Input(file.read)
        extractor = Placer(limits, replace(order, owner=None), target)
        extractor.extract(TarReader(TarSource(Pipeline(given, limits, prepare(given), hashes=False).more)))


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
