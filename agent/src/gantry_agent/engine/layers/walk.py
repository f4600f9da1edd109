"""Walking a tree that may change meanwhile, by descriptors: a name is looked up once, in the folder it was listed in,
and no link is followed. Runs in the worker.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MAX_DEPTH = 900  # folders open at once; RLIMIT_NOFILE is 1024 in the plainest of environments


class Found(NamedTuple):
    """One thing in the tree. `path` is relative to where the walk began; `folder` and `name` are how to open it."""

    path: bytes
    folder: int
    name: bytes
    stat: os.stat_result
    below: int
    """The parent's counterpart in the second tree, -1 where it has none."""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_whiteout(self) -> bool:
        return stat.S_ISCHR(self.stat.st_mode) and self.stat.st_rdev == 0


def walk(folder: int, prefix: bytes = b"", other: int = -1) -> Iterator[Found]:
    """Everything below an open folder, in order of names, a folder before what is in it.

    `other` is a second folder walked in step: `Found.below` is the descriptor of the parent's counterpart there, -1
    where it has none. Raises OSError.
    """
    stack = [(os.dup(folder), iter(_names(folder)), prefix, os.dup(other) if other >= 0 else -1)]
    try:
        while stack:
            here, names, path, beside = stack[-1]
            name = next(names, None)
            if name is None:
                _close(here, beside)
                stack.pop()
                continue
            try:
                found = Found(path + name, here, name, _lstat(here, name), beside)
            except FileNotFoundError:
                continue  # removed since it was listed
            yield found
            if found.is_folder and (below := _open(here, name)) >= 0:
                if len(stack) >= MAX_DEPTH:
                    os.close(below)
                    raise OSError(errno.ELOOP, "folders nested too deep", found.path)
                stack.append((below, iter(_names(below)), found.path + b"/", _open(beside, name)))
    finally:
        for here, _, _, beside in stack:
            _close(here, beside)


def _names(folder: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(folder)))


def _lstat(folder: int, name: bytes) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _open(folder: int, name: bytes) -> int:
    """The folder of that name, -1 when there is none (any more)."""
    if folder < 0:
        return -1
    try:
        return os.open(name, OPEN_FOLDER, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # a link took its place
            return -1
        raise


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
