"""Mounting a stack of layers with a writable one on top, for the engine: one thread makes all mounts.

Below a container's image lies one more layer, the same for all: the empty files and folders that a runtime mounts
things on. Made there, they are no changes of the container's own (Docker's "init layer"); where an image has them
itself, the image's are seen.
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .mounting import MAX_LAYERS, mount_here, unmount_here

CLONE_FS = 0x200


FOUNDATION_FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
FOUNDATION_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")


async def mount(links: Sequence[str], links_folder: Path, upper: Path, work: Path, merged: Path) -> None:
    """Mount `links` (top first, relative to `links_folder`) below `upper` at `merged`; the folders are made.

    Raises Internal.
    """
    await _in_thread(_mount, links, links_folder, upper, work, merged)


def _mount(links: Sequence[str], links_folder: Path, upper: Path, work: Path, merged: Path) -> None:
    mount_here(with_foundation(links, links_folder), links_folder, upper, work, merged)


def with_foundation(links: Sequence[str], links_folder: Path) -> list[str]:
    """The layers below a container's own. A stack as high as the kernel allows goes without the foundation."""
    return [*links, str(foundation(links_folder))] if len(links) < MAX_LAYERS else list(links)


def foundation(links_folder: Path) -> Path:
    """The layer below every image, made when it is missing."""
    folder = links_folder.with_name("foundation")
    if not folder.exists():
        new = links_folder.with_name("tmp") / f"foundation-{os.getpid()}"
        for name in ("", *FOUNDATION_FOLDERS):
            (new / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in FOUNDATION_FILES:
            (new / name).touch(mode=0o755 if name in (".dockerenv", "dev/console") else 0o644)
        (new / "etc/mtab").symlink_to("/proc/mounts")
        with contextlib.suppress(FileExistsError):
            new.rename(folder)
    return folder


async def view(links: Sequence[str], links_folder: Path, merged: Path) -> None:
    """Mount `links` read-only at `merged`. Raises Internal."""
    await _in_thread(mount_here, links, links_folder, None, None, merged)


async def mount_on(source: Path, upper: Path, work: Path, merged: Path) -> None:
    """Mount a folder below `upper` at `merged`; the folders are made. Raises Internal."""
    await _in_thread(mount_here, [str(source)], source.parent, upper, work, merged)


async def unmount(merged: Path) -> None:
    """Take the mount at `merged` away, also while something uses it; none there is fine. Raises Internal."""
    await _in_thread(unmount_here, merged)


def _own_working_directory() -> None:
    """Give this thread a working directory of its own: the engine's other threads keep theirs."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_FS):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_FS)")


_thread = ThreadPoolExecutor(1, "overlay", initializer=_own_working_directory)


async def _in_thread(work: Callable[..., None], *arguments: Any) -> None:
    """Run in the one mounting thread, to the end: a mount half done cannot be taken back by a cancelled caller."""
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(_thread, work, *arguments))
