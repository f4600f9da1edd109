"""Which files of a tree a COPY or ADD means, and a digest of them. Runs in the worker.

Sources are patterns relative to the tree's root, as Go's filepath.Match reads them (Dockerfile reference, "COPY"): `*`
and `?` stay within a name, `[a-z]`, `[^a]`, `\\` quotes. A link on the way, or at the end, of a source is followed with
the tree as the root; links below a folder that is copied are copied as links.
"""

import difflib
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from .extract import ExtractError
from .namespaces import open_in_root
from .walk import OPEN_FILE, Found, walk

MAGIC = re.compile(rb"[*?\[\\]")
READ = 1 << 20  # bytes
MOST_NAMES, NEAREST = 2000, 3  # looked at and told when a file is missing
PATH_ONLY = os.O_PATH | os.O_CLOEXEC


class Excludes(Protocol):
    """Rules of what is left out (ignore.py)."""

    def excludes(self, path: str) -> bool: ...

    def may_skip_folder(self, path: str) -> bool: ...


class Source(NamedTuple):
    """One thing a pattern stands for. `path` is as it was asked for, cleaned, without a slash at either end."""

    path: bytes
    stat: os.stat_result

    @property
    def name(self) -> bytes:
        return posixpath.basename(self.path)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)


class Tree:
    """A tree to copy from, by a descriptor of its root; it works from whatever root this process has.

    `hidden` are rules over whole paths: what they leave out is not there (.dockerignore). `excludes` are over what lies
    in a source, from that source on (--exclude).
    """

    def __init__(self, root: int, hidden: Excludes | None = None, excludes: Excludes | None = None) -> None:
        self._root = root
        self._hidden = hidden
        self._excludes = excludes

    def chosen(self, patterns: Sequence[bytes]) -> list[Source]:
        """What the patterns stand for, in their order, and a pattern's matches in the order of names.

        Raises ExtractError for a pattern that stands for nothing, leaves the tree or is broken, OSError.
        """
        found: list[Source] = []
        for pattern in patterns:
            there = self._expand(clean := _clean(pattern))
            paths = [path for path in there if not self._is_left_out(path)]
            if not paths:
                raise ExtractError(f"{shown(pattern)}: {self._why_not(clean, is_there=bool(there))}")
            found += [self._source(path) for path in paths]
        return found

    def open(self, source: Source) -> int:
        """A descriptor to read a source that is no folder, links followed. Raises OSError."""
        return open_in_root(self._root, source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def below(self, source: Source) -> Iterator[Found]:
        """Everything in a source that is a folder, paths relative to it, without what is left out."""
        folder = open_in_root(self._root, source.path or b".", os.O_RDONLY | os.O_DIRECTORY)
        skipped = None
        try:
            for found in walk(folder):
                if skipped is not None and found.path.startswith(skipped):
                    continue
                skipped = None
                whole = posixpath.join(source.path, found.path)
                if not _excluded(self._hidden, whole) and not _excluded(self._excludes, found.path):
                    yield found
                elif found.is_folder and (_skips(self._hidden, whole) or _skips(self._excludes, found.path)):
                    skipped = found.path + b"/"
        finally:
            os.close(folder)

    def _is_left_out(self, path: bytes) -> bool:
        """Whether a source itself is; of a folder that is, something inside may not be."""
        if not path:
            return False
        name = posixpath.basename(path)
        return _skips(self._hidden, path) or _skips(self._excludes, name)

    def _why_not(self, pattern: bytes, *, is_there: bool) -> str:
        """Why a pattern stands for nothing, with the names nearest to it."""
        if is_there:
            return "it is excluded by .dockerignore or --exclude"
        folder, name = posixpath.split(pattern)
        near = difflib.get_close_matches(shown(name), map(shown, self._names(folder)[:MOST_NAMES]), NEAREST)
        guess = f" (did you mean {', '.join(posixpath.join(shown(folder), each) for each in near)}?)" if near else ""
        return f"no such file or folder to copy{guess}"

    def _source(self, path: bytes) -> Source:
        real = open_in_root(self._root, path or b".", PATH_ONLY)
        try:
            return Source(path, os.fstat(real))
        finally:
            os.close(real)

    def _expand(self, pattern: bytes) -> list[bytes]:
        """The paths a pattern matches, in order; those that exist."""
        paths = [b""]
        for part in pattern.split(b"/") if pattern else ():
            if not MAGIC.search(part):
                paths = [each for path in paths if self._exists(each := posixpath.join(path, part))]
                continue
            matcher = go_pattern(part)
            paths = [
                posixpath.join(path, name) for path in paths for name in self._names(path) if matcher.fullmatch(name)
            ]
        return paths

    def _exists(self, path: bytes) -> bool:
        try:
            os.close(open_in_root(self._root, path, PATH_ONLY))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _names(self, path: bytes) -> list[bytes]:
        """What is in a folder, links followed; nothing when it is none."""
        try:
            folder = open_in_root(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return sorted(map(os.fsencode, os.listdir(folder)))
        finally:
            os.close(folder)


class Fingerprint:
    """A digest of names, kinds, modes, owners, links and contents; never of times."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, source: Source, *, keeps_path: bool) -> None:
        """A source with all in it. A folder's own name does not count, unless its path is kept."""
        name = source.path if keeps_path else source.name
        if not source.is_folder:
            file = self._tree.open(source)
            try:
                self._put(name, source.stat, b"", file)
            finally:
                os.close(file)
            return
        self._put((name if keeps_path else b"") + b"/", source.stat)
        for found in self._tree.below(source):
            self._found(found)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _found(self, found: Found) -> None:
        link, file = b"", -1
        if stat.S_ISLNK(found.stat.st_mode):
            link = os.readlink(found.name, dir_fd=found.folder)
        elif stat.S_ISREG(found.stat.st_mode):
            file = os.open(found.name, OPEN_FILE, dir_fd=found.folder)
        try:
            self._put(found.path, found.stat, link, file)
        finally:
            if file >= 0:
                os.close(file)

    def _put(self, name: bytes, found: os.stat_result, link: bytes = b"", file: int = -1) -> None:
        self.count += 1
        numbers = f"{found.st_mode:o} {found.st_uid} {found.st_gid} {found.st_rdev}".encode()
        # Every part with its length before it: no two trees give the same text.
        for part in (name, link, numbers, _content(file), _capabilities(file)):
            self._hash.update(b"%d:" % len(part) + part)


def _excluded(rules: Excludes | None, path: bytes) -> bool:
    return rules is not None and rules.excludes(os.fsdecode(path))


def _skips(rules: Excludes | None, path: bytes) -> bool:
    return rules is not None and _excluded(rules, path) and rules.may_skip_folder(os.fsdecode(path))


def _content(file: int) -> bytes:
    if file < 0:
        return b""
    total = hashlib.sha256()
    while chunk := os.read(file, READ):
        total.update(chunk)
    return total.digest()


def _capabilities(file: int) -> bytes:
    """The attribute that changes what a program may do."""
    if file < 0:
        return b""
    try:
        return os.getxattr(file, "security.capability")
    except OSError:
        return b""


def _clean(pattern: bytes) -> bytes:
    """The pattern relative to the root, without dots. Raises ExtractError when it leaves the tree."""
    clean = posixpath.normpath(b"./" + pattern.lstrip(b"/"))
    if clean == b".." or clean.startswith(b"../"):
        raise ExtractError(f"forbidden path outside the build context: {shown(pattern)}")
    return b"" if clean == b"." else clean


def go_pattern(part: bytes) -> re.Pattern[bytes]:
    """One name's pattern (Go: path/filepath, Match). Raises ExtractError for a broken one."""
    out, at = [], 0
    while at < len(part):
        sign, at = part[at : at + 1], at + 1
        if sign == b"*":
            out.append(rb"[^/]*")
        elif sign == b"?":
            out.append(rb"[^/]")
        elif sign == b"[":
            text, at = _class(part, at)
            out.append(text)
        elif sign == b"\\":
            if at == len(part):
                raise ExtractError(f"syntax error in pattern: {shown(part)}")
            out.append(re.escape(part[at : at + 1]))
            at += 1
        else:
            out.append(re.escape(sign))
    return re.compile(b"".join(out), re.DOTALL)


def _class(part: bytes, at: int) -> tuple[bytes, int]:
    """`[…]` from behind its bracket: as a regular expression, and where it ends."""
    negated = part[at : at + 1] == b"^"
    at += negated
    signs: list[bytes] = []
    while at < len(part) and (part[at : at + 1] != b"]" or not signs):
        low, at = _sign(part, at)
        high = low
        if part[at : at + 1] == b"-" and part[at + 1 : at + 2] != b"]":
            high, at = _sign(part, at + 1)
        if low > high:
            raise ExtractError(f"syntax error in pattern: {shown(part)}")
        signs.append(re.escape(low) + b"-" + re.escape(high))
    if part[at : at + 1] != b"]" or not signs:
        raise ExtractError(f"syntax error in pattern: {shown(part)}")
    return b"[" + (b"^" if negated else b"") + b"".join(signs) + b"]", at + 1


def _sign(part: bytes, at: int) -> tuple[bytes, int]:
    if part[at : at + 1] == b"\\":
        at += 1
    if at >= len(part):
        raise ExtractError(f"syntax error in pattern: {shown(part)}")
    return part[at : at + 1], at + 1


def shown(name: bytes) -> str:
    """A name for a message."""
    return name[:200].decode(errors="backslashreplace")
