"""Records one terminal from an event loop: takes bytes at once, writes them in a thread a few times a second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from containers.recordings.cast import INPUT, MARKER, OUTPUT, RESIZE, Event
from containers.recordings.files import Busy, CastFile, Full, Held, Turn, held, pool

P = ParamSpec("P")
H = TypeVar("H", bound=Held)

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.2  # between two writes; a killed process loses no more than this
FLUSH_BYTES = 256 * 1024  # or sooner, once so much waits
MOST_WAITING = 2 * 1024 * 1024  # the terminal waits for the disk beyond this
STALL_SECONDS = 10.0  # a disk that takes nothing for so long is given up
BUSY_SECONDS = 15.0  # how long the process that had this terminal before may take to let go

LAST_WORDS = "The recording ends here, not the shell: {words}"

# Told when a recording stops before its shell does: whether for want of room, and why in words.
Trouble = Callable[[bool, str], None]


async def resume(cast: Path) -> CastFile:
    """Go on with an open cast, once whoever writes it has let go. Raises Busy, FileNotFoundError or another OSError."""
    deadline = time.monotonic() + BUSY_SECONDS
    turn = await _once_free(deadline, Turn, cast)
    try:
        return await _once_free(deadline, _take, cast, turn)
    except BaseException:
        await pool(turn.release)
        raise


def _take(cast: Path, turn: Turn) -> CastFile:
    file = CastFile.resume(cast)
    turn.release()
    return file


async def _once_free(deadline: float, function: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs) -> H:
    while True:
        try:
            return await held(function, *args, **kwargs)
        except Busy:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


class Recorder:
    """Writes to `file`, which it owns. `on_trouble(is_full, words)` is called once, when it has to stop early."""

    def __init__(self, file: CastFile, on_trouble: Trouble) -> None:
        self.file = file
        self.on_trouble = on_trouble
        self.position = file.position  # bytes of output taken
        self.is_over = self._is_stalled = False
        self._events: list[Event] = []
        self._waiting = self._in_hand = 0  # bytes that wait, and that a thread has
        self._dirty, self._much, self._written = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._one = asyncio.Lock()
        self._task = asyncio.create_task(self._run())

    def output(self, position: int, data: bytes) -> None:
        """Output that begins at `position` of the terminal's; what is recorded already is left out."""
        if position > self.position:
            self._take(Event(time.time(), MARKER, f"{position - self.position} bytes of output were not kept"))
            self.position = position
        data = data[self.position - position :]
        if data:
            self.position += len(data)
            self._take(Event(time.time(), OUTPUT, data))

    def resized(self, columns: int, rows: int) -> None:
        if self._events and self._events[-1].code == RESIZE:  # nothing was shown in that size
            self._waiting -= len(self._events.pop().data)
        self._take(Event(time.time(), RESIZE, f"{columns}x{rows}"))

    def typed(self, data: bytes) -> None:
        self._take(Event(time.time(), INPUT, data.decode("utf-8", "replace")))

    def _take(self, event: Event) -> None:
        if self.is_over:
            return
        self._events.append(event)
        self._waiting += len(event.data)
        self._dirty.set()
        if self._waiting >= FLUSH_BYTES:
            self._much.set()

    async def room(self) -> None:
        """Wait while the disk is behind."""
        while not self.is_over and self._waiting + self._in_hand > MOST_WAITING:
            self._written.clear()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await self._written.wait()
            except TimeoutError:
                # A thread stands still in the file: it is closed when that returns.
                self.is_over = self._is_stalled = True
                self.on_trouble(False, f"the disk took nothing for {STALL_SECONDS:.0f} seconds")

    async def release(self) -> None:
        """Write what waits and leave the recording open, for another process or a later return."""
        await self._last_flush()
        if not self.is_over:
            self.is_over = True
            await pool(self.file.release)

    async def seal(self, last_words: str = "") -> int:
        """Write what waits and close the recording; its size."""
        await self._last_flush()
        if not self.is_over:
            self.is_over = True
            await pool(self.file.seal, last_words, time.time())
        return self.file.size

    async def _last_flush(self) -> None:
        if self._is_stalled:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self.is_over:
            await self._flush()

    async def _run(self) -> None:
        while not self.is_over:
            await self._dirty.wait()
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._much.wait()
            except TimeoutError:
                pass
            await self._flush()

    async def _flush(self) -> None:
        async with self._one:
            events, self._events = self._events, []
            self._in_hand, self._waiting = self._waiting, 0
            self._dirty.clear()
            self._much.clear()
            if not events or self.is_over:
                return
            try:
                await pool(self.file.append, events, self.position)
            except Full as exc:
                await self._stop(True, str(exc))
            except OSError as exc:
                await self._stop(False, exc.strerror or str(exc))
            finally:
                self._in_hand = 0
                self._written.set()
            if self._is_stalled:  # the disk moves again
                await self._seal(LAST_WORDS.format(words="the disk stood still"))

    async def _stop(self, is_full: bool, words: str) -> None:
        """Close the recording where it is; the shell goes on."""
        if self.is_over:
            return
        self.is_over = True
        await self._seal(LAST_WORDS.format(words=words))
        self.on_trouble(is_full, words)

    async def _seal(self, last_words: str) -> None:
        try:
            await pool(self.file.seal, last_words, time.time())
        except OSError as exc:
            log.warning("recording %s could not be closed: %s", self.file.cast.name, exc)
