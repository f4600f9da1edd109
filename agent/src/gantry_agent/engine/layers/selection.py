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
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from .content import Files, Node
from .extract import ExtractError

MAGIC = re.compile(rb"[*?\[\\]")
MOST_NAMES, NEAREST = 2000, 3  # looked at and told when a file is missing
CAPABILITIES = b"security.capability"  # the attribute that changes what a program may do


class Excludes(Protocol):
    """Rules of what is left out (ignore.py)."""

    def excludes(self, path: str) -> bool: ...

    def may_skip_folder(self, path: str) -> bool: ...


class Source(NamedTuple):
    """What a pattern stands for."""

    node: Node
    kept: bytes
    """What --parents keeps of its path: all of it, or what lies behind the pattern's first /./."""

    @property
    def is_folder(self) -> bool:
        return self.node.is_folder


class Tree:
    """A tree to copy from.

    `hidden` are rules over whole paths: what they leave out is not there (.dockerignore). `excludes` are over what lies
    in a source, from that source on (--exclude).
    """

    def __init__(self, files: Files, hidden: Excludes | None = None, excludes: Excludes | None = None) -> None:
        self.files = files
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
            dropped = _names_before_pivot(pattern)
            found += [Source(self.files.find(path), b"/".join(path.split(b"/")[dropped:])) for path in paths]
        return found

    def below(self, source: Node) -> Iterator[Node]:
        """Everything in a source that is a folder, paths relative to it, without what is left out."""
        skipped = None
        for found in self.files.walk(source.path):
            if skipped is not None and found.path.startswith(skipped):
                continue
            skipped = None
            whole = posixpath.join(source.path, found.path)
            if not _excluded(self._hidden, whole) and not _excluded(self._excludes, found.path):
                yield found
            elif found.is_folder and (_skips(self._hidden, whole) or _skips(self._excludes, found.path)):
                skipped = found.path + b"/"

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
            self.files.find(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _names(self, path: bytes) -> list[bytes]:
        """What is in a folder, links followed; nothing when it is none."""
        try:
            return self.files.names(path)
        except (FileNotFoundError, NotADirectoryError):
            return []


class Fingerprint:
    """A digest of names, kinds, modes, owners, links and contents; never of times."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, source: Source, *, keeps_path: bool) -> None:
        """A source with all in it. A folder's own name does not count, unless its path is kept."""
        node = source.node
        name = source.kept if keeps_path else node.name
        if not node.is_folder:
            self._put(name, node)
            return
        self._put((name if keeps_path else b"") + b"/", node)
        for found in self._tree.below(node):
            self._put(found.path, found)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _put(self, name: bytes, found: Node) -> None:
        self.count += 1
        numbers = f"{found.mode:o} {found.uid} {found.gid} {found.rdev}".encode()
        content = capabilities = b""
        if found.is_file:
            with self._tree.files.open(found) as file:
                content, capabilities = file.digest(), file.attributes().get(CAPABILITIES, b"")
        # Every part with its length before it: no two trees give the same text.
        for part in (name, found.link, numbers, content, capabilities):
            self._hash.update(b"%d:" % len(part) + part)


def _excluded(rules: Excludes | None, path: bytes) -> bool:
    return rules is not None and rules.excludes(os.fsdecode(path))


def _skips(rules: Excludes | None, path: bytes) -> bool:
    return rules is not None and _excluded(rules, path) and rules.may_skip_folder(os.fsdecode(path))


def _clean(pattern: bytes) -> bytes:
    """The pattern relative to the root, without dots. Raises ExtractError when it leaves the tree."""
    clean = posixpath.normpath(b"./" + pattern.lstrip(b"/"))
    if clean == b".." or clean.startswith(b"../"):
        raise ExtractError(f"forbidden path outside the build context: {shown(pattern)}")
    return b"" if clean == b"." else clean


def _names_before_pivot(pattern: bytes) -> int:
    """How many names a pattern has before its first /./ (Dockerfile reference, "COPY --parents"), 0 without one."""
    before, pivot, _ = pattern.partition(b"/./")
    clean = _clean(before) if pivot else b""
    return len(clean.split(b"/")) if clean else 0


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
