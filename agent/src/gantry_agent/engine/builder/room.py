"""A build is ended before the disk is full: what else runs on the host needs to write as well.

Nobody looks on while a step runs, and a container that is being built has no quota of its own on most filesystems.
Which of several builds takes the room is not known: what they write shows on the disk alone, and all of them end.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import FULL, EngineError, Internal

LOOK_SECONDS = 0.1
CLOSE_LOOK_SECONDS = 0.02  # once there is little: a page cache takes some gigabytes in a second
SMALL_SHARE = 20  # of a small filesystem, one part in so many is kept free
MOST_FILES = 100_000  # of the files that can still be made, as many are kept at most


class NoRoom(Internal):
    """The build was ended for want of room."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the host's disk is nearly full, and a build leaves room for what else runs there: {found}."
            " Let it write less, or remove what the host needs no more (docker system df)"
        )


@asynccontextmanager
async def room_kept(engine: Engine) -> AsyncIterator[None]:
    """What is done inside is cancelled once the engine's disk is nearly full. Raises NoRoom then, or at once."""
    if found := short_of(engine):
        raise NoRoom(found)
    loop = asyncio.get_running_loop()
    is_over = False

    def look() -> None:
        nonlocal found
        if is_over:
            return
        if found := short_of(engine):
            limit.reschedule(loop.time())
        else:
            loop.call_later(CLOSE_LOOK_SECONDS if short_of(engine, 8) else LOOK_SECONDS, look)

    try:
        async with asyncio.timeout(None) as limit:
            look()
            try:
                yield
            finally:
                is_over = True
    except (TimeoutError, EngineError) as exc:
        if not limit.expired():
            raise
        raise NoRoom(found) from exc  # whatever went wrong while it was cleared away
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        raise NoRoom(short_of(engine) or os.strerror(exc.errno)) from exc


def short_of(engine: Engine, times: int = 1) -> str:
    """What the engine's disk is short of, in words; "" while it has more than builds leave free, so many `times`.

    Of a small filesystem, that is one part in SMALL_SHARE.
    """
    disk = os.statvfs(engine.layout.root)
    free = disk.f_bavail * disk.f_frsize
    kept = min(engine.config.build_keep_free, disk.f_blocks * disk.f_frsize // SMALL_SHARE)
    if free < kept * times:
        return f"{free:,} bytes are free, and {kept:,} are kept"
    kept = min(MOST_FILES, disk.f_files // SMALL_SHARE)  # 0 where a filesystem does not count them
    if disk.f_favail < kept * times:
        return f"{disk.f_favail:,} files can still be made, and {kept:,} are kept"
    return ""
