"""How much a writable layer holds."""

import asyncio
import os
import stat
from pathlib import Path

from .walk import OPEN_FOLDER, walk


async def size_of(upper: Path) -> int:
    """Bytes of the files in a folder, each file once however many names it has; 0 when the folder is not there."""
    return await asyncio.to_thread(size_of_now, upper)


def size_of_now(upper: Path) -> int:
    """`size_of` for threads."""
    try:
        folder = os.open(upper, OPEN_FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    total = 0
    linked: set[tuple[int, int]] = set()
    try:
        for found in walk(folder):
            status = found.stat
            if not stat.S_ISREG(status.st_mode):
                continue
            if status.st_nlink > 1:
                key = (status.st_dev, status.st_ino)
                if key in linked:
                    continue
                linked.add(key)
            total += status.st_size
    finally:
        os.close(folder)
    return total
