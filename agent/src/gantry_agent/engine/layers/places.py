"""Places inside a container's root: found as the container will see them, and made when they are missing.

Docker mounts also where a link of the image dangles: it makes what the link means, inside the root. A path is walked
one name at a time, each relative to the open folder before it, and no link is ever followed by the kernel: its text is
read and walked in turn, and ".." goes back the way one came. So neither a link nor somebody who renames folders in a
volume at the same moment leads to anything but the root and what is mounted in it, and nothing else is made.
"""

import errno
import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .namespaces import open_in_root

PATH_ONLY = os.O_PATH | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS = 40  # as the kernel's own
MAX_STEPS = 512  # names walked for one path, each an open descriptor; more is an attack
MODE = 0o755  # Docker's, for folders and files
MISSING, UNSEEN = -1, -2


@dataclass(frozen=True)
class Cover:
    """What will be mounted at a place: a file or folder of the host, or "", of which nothing can be seen before."""

    source: str = ""
    writable: bool = True


@dataclass(frozen=True)
class _Step:
    """Where a walk has come to. `folder`: a descriptor, MISSING, or UNSEEN."""

    path: str
    folder: int
    writable: bool = True


class Places:
    """The places of one root, with what will be mounted there. Blocks; for `with`."""

    def __init__(self, root: Path) -> None:
        self._root_path = root
        self._covers: dict[str, Cover] = {}

    def __enter__(self) -> Self:
        self._root = os.open(self._root_path, PATH_ONLY | os.O_DIRECTORY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def cover(self, place: str, cover: Cover) -> None:
        """From now on `cover` is what is seen at `place`, which `make` has answered."""
        below = f"{place}/"
        for hidden in [each for each in self._covers if each.startswith(below)]:
            del self._covers[hidden]
        self._covers[place] = cover

    def make(self, path: str, *, like: str = "") -> str:
        """The place that the clean, absolute `path` means, without links. What is missing of it is made: a folder, or
        an empty file where `like`, a path of the host, is no folder.

        What will be mounted unseen is left to the runtime: nothing is made there. Raises OSError: a link that never
        ends, a file in the way, a mount that is read-only.
        """
        if around := self._around(path):
            if not around.source:
                return path
        elif self._is_plain(path):
            return path
        is_folder = not like or stat.S_ISDIR(os.stat(like).st_mode)
        with ExitStack() as stack:
            steps = self._walk(path, stack)
            last = steps[-1]
            if last.folder == MISSING:
                first = next(number for number, step in enumerate(steps) if step.folder == MISSING)
                _make(steps[first - 1], steps[first:], is_folder=is_folder, stack=stack)
            elif is_folder and last.folder != UNSEEN and not stat.S_ISDIR(os.fstat(last.folder).st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return last.path

    def find(self, path: str) -> str:
        """The place that the clean, absolute `path` means, without links; nothing is made. Raises OSError."""
        if (around := self._around(path)) and not around.source:
            return path
        with ExitStack() as stack:
            return self._walk(path, stack)[-1].path

    def _around(self, path: str) -> Cover | None:
        """What covers `path` or, nearest, a folder above it."""
        while path:
            if found := self._covers.get(path):
                return found
            path = path[: path.rindex("/")]
        return None

    def _is_plain(self, path: str) -> bool:
        """Whether it is there without any link: so it is nearly always."""
        try:
            os.close(open_in_root(self._root, os.fsencode(path), PATH_ONLY, links=False))
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ELOOP):
                return False
            raise
        return True

    def _walk(self, path: str, stack: ExitStack) -> list[_Step]:
        """The steps from the root to what `path` means; from the first that is MISSING on all are."""
        steps = [_Step("/", self._root)]
        todo, links, walked = _names(path), 0, 0
        while todo:
            walked += 1
            if walked > MAX_STEPS:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            name = todo.pop()
            if name == "..":
                del steps[max(1, len(steps) - 1) :]
                continue
            step = self._step(steps[-1], name, stack)
            if isinstance(step, _Step):
                steps.append(step)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if step.startswith("/"):
                del steps[1:]
            todo += _names(step)
        return steps

    def _step(self, holder: _Step, name: str, stack: ExitStack) -> _Step | str:
        """What `name` is in `holder`: another step, or the text of a link."""
        path = f"{holder.path.rstrip('/')}/{name}"
        if cover := self._covers.get(path):
            return _Step(path, _opened(cover.source, stack) if cover.source else UNSEEN, cover.writable)
        if holder.folder < 0:
            return _Step(path, holder.folder, holder.writable)
        try:
            found = _opened(name, stack, os.O_NOFOLLOW, holder.folder)
        except FileNotFoundError:
            return _Step(path, MISSING, holder.writable)
        if stat.S_ISLNK(os.fstat(found).st_mode):
            return os.readlink("", dir_fd=found)
        return _Step(path, found, holder.writable)


def _make(holder: _Step, missing: list[_Step], *, is_folder: bool, stack: ExitStack) -> None:
    """Make the steps `missing` in `holder`, one in the other."""
    if not holder.writable:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), missing[0].path)
    folder = holder.folder
    for number, step in enumerate(missing, 1):
        name = step.path.rpartition("/")[2]
        # It may be there by now: another container with the same volume is being started.
        if number == len(missing) and not is_folder:
            with suppress(FileExistsError):
                os.close(os.open(name, NEW_FILE, MODE, dir_fd=folder))
            return
        with suppress(FileExistsError):
            os.mkdir(name, MODE, dir_fd=folder)
        folder = _opened(name, stack, os.O_DIRECTORY | os.O_NOFOLLOW, folder)


def _opened(path: str, stack: ExitStack, flags: int = 0, folder: int | None = None) -> int:
    """A descriptor that closes with the stack."""
    descriptor = os.open(path, PATH_ONLY | flags, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _names(path: str) -> list[str]:
    """Those of a path, the first one last."""
    return [name for name in path.split("/")[::-1] if name not in ("", ".")]
