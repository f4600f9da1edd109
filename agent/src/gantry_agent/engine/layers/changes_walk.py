"""What a container changed: its upper folder beside the image's tree. Runs in the worker."""

import os
import stat
from collections.abc import Iterator

from .packer import is_opaque
from .walk import Found, walk

MODIFIED, ADDED, DELETED = 0, 1, 2
MAX_CHANGES = 1_000_000


def changes(upper: int, lowers: int) -> Iterator[tuple[int, bytes]]:
    """(kind, path) as `docker diff` tells them: folders come with what changed below them, a folder that only came
    along with its own attributes as they were is told when something below it did change.
    """
    for found in walk(upper, b"/", lowers):
        before = _lstat(found.below, found.name)
        if found.is_whiteout:
            if before:
                yield DELETED, found.path
            continue
        yield (MODIFIED if before else ADDED), found.path
        if before and stat.S_ISDIR(before.st_mode) and found.is_folder and is_opaque(found):
            yield from _replaced(found)


def _replaced(found: Found) -> Iterator[tuple[int, bytes]]:
    """What was in a folder that the container removed and made anew."""
    here = os.open(found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=found.folder)
    before = os.open(found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=found.below)
    try:
        for name in sorted(set(os.listdir(before)) - set(os.listdir(here))):
            yield DELETED, found.path + b"/" + os.fsencode(name)
    finally:
        os.close(here)
        os.close(before)


def _lstat(folder: int, name: bytes) -> os.stat_result | None:
    if folder < 0:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
