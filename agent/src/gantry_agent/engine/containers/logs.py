"""Reading a container's log as its clients ask for it, and keeping it within its size.

    cursor = await place(path, wanted, tail=10)
    async for data in read(cursor, wanted, life=life, watcher=watcher): …   # b"": a second without news

A reader works from the file, never from conmon's socket: it may be as slow as it likes without holding the container
or another reader up, and it takes up where it was after the engine was killed.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import Conflict

from .life import Life
from .log_files import BLOCK, Cursor, hold, rotate
from .log_records import Renderer, Wanted, stamp
from .watching import Watcher

PIECE = 64 << 10  # bytes rendered at a time, and read without a hop to a thread: less than a millisecond
NEWS_TIMEOUT = 1.0  # seconds a follower waits before it lets its caller look whether the client is still there
SIZE_CHECK = 1.0  # seconds between looks at the sizes of the logs
REOPEN_PATIENCE = 60.0  # seconds conmon may take to open its log anew before it is told again
MIN_SIZE = 16 << 10  # bytes of a log file

_threads = ThreadPoolExecutor(4, "logs")


async def place(
    path: Path, wanted: Wanted, *, tail: int | None = None, from_end: bool = False, ends_now: bool = False
) -> Cursor:
    """The place in a log where reading begins; `from_end`: behind what is there, `ends_now`: no further than that."""

    def find() -> Cursor:
        cursor = Cursor(path)
        if ends_now:
            cursor.stop_here()
        if from_end or tail == 0:
            cursor.seek_end()
        elif tail is not None:
            cursor.seek_tail(tail)
        elif wanted.since:
            cursor.seek_time(wanted.since)
        if ends_now:
            cursor.hold()
        return cursor

    return await asyncio.get_running_loop().run_in_executor(_threads, find)


async def read(
    cursor: Cursor, wanted: Wanted, *, life: Life | None = None, watcher: Watcher | None = None
) -> AsyncGenerator[bytes, None]:
    """The log from a place on, rendered: what is there, then with `life` and `watcher` what is added until that life
    ends. Closes the cursor. Yields b"" each second without news. The order is the log's; nothing is left out or
    doubled by rotation.
    """
    try:
        renderer = Renderer(wanted, cursor.skips)
        rendered = _Rendered(cursor, renderer)
        if life is None or watcher is None:
            while not renderer.is_done and (data := await rendered.next()) is not None:
                yield data
        else:
            with watcher.watch(cursor.path.parent) as changed, life.tells(changed, cursor.hold):
                async with contextlib.aclosing(_follow(rendered, life, changed)) as pieces:
                    async for data in pieces:
                        yield data
        if rest := renderer.end():
            yield rest
    finally:
        cursor.close()


async def _follow(rendered: "_Rendered", life: Life, changed: asyncio.Event) -> AsyncGenerator[bytes, None]:
    renderer = rendered.renderer
    until = renderer.wanted.until
    while not renderer.is_done:
        changed.clear()
        # Asked before the read: what a process wrote before it died is in the log by then.
        is_over = life.is_over()
        data = await rendered.next()
        if data is not None:
            if data:
                yield data
        elif is_over or (until is not None and stamp(time.time_ns()) > until):
            return
        else:
            try:
                async with asyncio.timeout(NEWS_TIMEOUT):
                    await changed.wait()
            except TimeoutError:
                yield b""


class _Rendered:
    """What a cursor comes upon, rendered.

    A thread reads, for the disk may be slow. It does not render: Python gives a busy thread five milliseconds before
    the event loop has its turn again, and a piece takes a tenth of that.
    """

    def __init__(self, cursor: Cursor, renderer: Renderer) -> None:
        self.renderer = renderer
        self._cursor = cursor
        self._block, self._place = b"", 0

    async def next(self) -> bytes | None:
        """The next piece of the answer, None where the log ends now."""
        if self._place < len(self._block):
            await asyncio.sleep(0)  # everybody else’s turn
        elif not await self._read():
            return None
        begin = self._place
        end = self._block.rfind(b"\n", begin, begin + PIECE) + 1 or self._block.index(b"\n", begin) + 1
        self._place = end
        return self.renderer.feed(self._block[begin:end])

    async def _read(self) -> bool:
        if self._cursor.behind <= PIECE:
            self._block = self._cursor.read(PIECE)
        else:
            self._block = await asyncio.get_running_loop().run_in_executor(_threads, self._cursor.read, BLOCK)
        self._place = 0
        return bool(self._block)


@dataclass(frozen=True)
class Kept:
    """One running container's log and what it may take: `size` bytes a file, `files` in all."""

    path: Path
    size: int
    files: int
    reopen: Callable[[], None]
    """Tells its conmon to open the path anew; raises Conflict when it has gone."""


async def keep_small(logs: Callable[[], Iterator[Kept]]) -> None:
    """Rotate logs that have grown beyond their size, for ever."""
    asked: dict[Path, tuple[int, float]] = {}
    while True:
        for each in logs():
            await asyncio.sleep(0)  # hundreds of containers must not hold the loop in one go
            with contextlib.suppress(FileNotFoundError):
                found = each.path.stat()
                now = time.monotonic()
                number, at = asked.get(each.path, (0, 0.0))
                is_busy = number == found.st_ino and now - at < REOPEN_PATIENCE
                if found.st_size < each.size or is_busy:
                    continue
                asked[each.path] = (found.st_ino, now)
                hold(each.path)
                await asyncio.get_running_loop().run_in_executor(_threads, rotate, each.path, each.files - 1)
                with contextlib.suppress(Conflict):
                    each.reopen()
        asked = {path: last for path, last in asked.items() if time.monotonic() - last[1] < REOPEN_PATIENCE}
        await asyncio.sleep(SIZE_CHECK)


def limits(host: dict[str, Any], size: int, files: int) -> tuple[int, int]:
    """Bytes and number of log files from a HostConfig's options ("max-size": "10m", "max-file": "3"), else those given.
    One file alone would lose what is in it at each rotation, so there are always two. Of a log that nobody may read
    (driver none) only what attached clients have still to see is kept.
    """
    config = host.get("LogConfig") or {}
    if config.get("Type") == "none":
        return MIN_SIZE, 2
    options = config.get("Config") or {}
    match = re.fullmatch(r"(\d+)([kmg]?)b?", str(options.get("max-size") or "").lower())
    if match:
        size = int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]]
    count = str(options.get("max-file") or "")
    return max(size, MIN_SIZE), max(2, int(count) if count.isdigit() else files)
