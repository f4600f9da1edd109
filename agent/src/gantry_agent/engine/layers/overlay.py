"""Mounting a stack of layers with a writable one on top, for the engine: one thread makes all mounts."""

import asyncio
import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .mounting import mount_here, unmount_here

CLONE_FS = 0x200


async def mount(links: Sequence[str], links_folder: Path, upper: Path, work: Path, merged: Path) -> None:
    """Mount `links` (top first, relative to `links_folder`) below `upper` at `merged`; the folders are made.

    Raises Internal.
    """
    await _in_thread(mount_here, links, links_folder, upper, work, merged)


async def view(links: Sequence[str], links_folder: Path, merged: Path) -> None:
    """Mount `links` read-only at `merged`. Raises Internal."""
    await _in_thread(mount_here, links, links_folder, None, None, merged)


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
