"""Every durable step on the disk goes through here, so that a test can end the process at each of them.

The rule: write to a temporary file or folder in tmp/ (same filesystem), make it durable, rename it to its final name,
then write the row that names it. Removal goes the other way: the row, then a rename into tmp/, then deletion.
"""

import ctypes
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gantry_agent.engine.errors import Internal

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """A disk that is full or failing becomes Internal with what was being done: "storing a blob: No space left …"."""
    try:
        yield
    except OSError as exc:
        raise Internal(f"{doing}: {exc.strerror or exc}") from exc


def temporary(folder: Path, kind: str) -> Path:
    """A name in `folder` that nobody else has; nothing is created."""
    return folder / f"{kind}-{secrets.token_hex(8)}"


def sync_file(descriptor: int) -> None:
    """The file's content survives loss of power."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """The names in `folder` survive loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(folder: Path) -> None:
    """All that was written to the filesystem of `folder` survives loss of power: one call for a whole tree."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Rename within the filesystem: whole or not at all."""
    os.rename(source, target)


def link(target: str, name: Path) -> None:
    """A symbolic link, replacing what has its name."""
    new = name.with_name(f".{name.name}-{secrets.token_hex(4)}")
    os.symlink(target, new)
    os.rename(new, name)


def remove(path: Path) -> None:
    """Delete a file or a link, if it is there."""
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder and all in it, never following a link. Raises OSError when something stays."""
    shutil.rmtree(folder)
