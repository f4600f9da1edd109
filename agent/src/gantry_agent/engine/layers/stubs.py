"""Places a runtime made for mounts to lie on: in the writable layer, and yet nobody's change. Runs in the worker."""

import contextlib
import os
import stat

from .packer import is_opaque_at
from .walk import OPEN_FOLDER


def clear(upper: int, lowers: int, path: bytes) -> None:
    """Remove what is at `path` in the folder `upper` when it is empty and the tree below has nothing there; then, going
    up, every folder that is empty for it and was made, or only touched, on the way. Links on the way end it.
    """
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    while parts:
        folder, beside = _descend(upper, parts[:-1]), _descend(lowers, parts[:-1])
        try:
            if folder < 0 or not _clear_one(folder, beside, parts.pop()):
                return
        finally:
            for descriptor in (folder, beside):
                if descriptor >= 0:
                    os.close(descriptor)


def _clear_one(folder: int, beside: int, name: bytes) -> bool:
    """Remove one thing, if it may go; whether it went."""
    found, before = _stat(folder, name), _stat(beside, name)
    if found is None:
        return False
    if not stat.S_ISDIR(found.st_mode):
        if before is not None or not stat.S_ISREG(found.st_mode) or found.st_size:
            return False
        os.unlink(name, dir_fd=folder)
        return True
    if before is not None and (_facts(before) != _facts(found) or is_opaque_at(folder, name)):
        return False
    with contextlib.suppress(OSError):  # not empty
        os.rmdir(name, dir_fd=folder)
        return True
    return False


def _stat(folder: int, name: bytes) -> os.stat_result | None:
    if folder < 0:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None


def _facts(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_uid, found.st_gid


def _descend(root: int, parts: list[bytes]) -> int:
    """The folder at a path, no link followed; -1 when there is none."""
    if root < 0:
        return -1
    here = os.dup(root)
    for part in parts:
        try:
            below = os.open(part, OPEN_FOLDER, dir_fd=here)
        except OSError:
            return -1
        finally:
            os.close(here)
        here = below
    return here
