"""A recording on disk: NAME.cast, while it is open NAME.mark beside it, and NAME.watch/ with those who watch.

The mark says how far the cast is complete, and how much of the terminal's output is in it. It is written after the
lines it speaks of: whoever is killed between the two leaves lines that count for nothing, and the next writer or the
sweep cuts them off. The cast is locked (flock(2)) for as long as a process writes it, so that nobody else does, and
anybody can see that somebody does; whoever waits for it locks the mark (Turn). None of this belongs on an event loop:
see `pool`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Protocol, Self, TypeVar

from django.conf import settings

from containers.recordings.cast import MARKER, Event, Writer
from controlplane.lib.cancelling import to_its_end

P = ParamSpec("P")
R = TypeVar("R")

# Threads of their own: a disk that stands still holds up recordings, and nothing else.
_THREADS = ThreadPoolExecutor(4, "recordings")


async def pool(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `function(…)` in one of the threads for files. A cancellation waits for the call to end."""
    return await to_its_end(asyncio.get_running_loop().run_in_executor(_THREADS, lambda: function(*args, **kwargs)))


class Held(Protocol):
    """Something that is locked until it is let go."""

    def release(self) -> None: ...


H = TypeVar("H", bound=Held)


async def held(function: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs) -> H:
    """As `pool`, for what must be let go: a cancellation lets go of it, since nobody else would."""
    call = asyncio.get_running_loop().run_in_executor(_THREADS, lambda: function(*args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        if not call.cancelled() and call.exception() is None:
            call.result().release()
        raise


class Full(OSError):
    """The recording, or the disk as far as it is left to recordings, has no more room."""


class Busy(OSError):
    """Another process writes this recording."""


@dataclass(frozen=True)
class Mark:
    """How far a cast is complete: bytes of the terminal's output in it, its own size, and its seconds."""

    position: int
    size: int
    elapsed: float
    started: float

    FORMAT = struct.Struct("<QQdd")

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.position, self.size, self.elapsed, self.started)

    @classmethod
    def read(cls, cast: Path) -> Mark | None:
        """The mark of an open recording; None once it is closed, or before it began."""
        try:
            data = mark_of(cast).read_bytes()
        except FileNotFoundError:
            return None
        return cls(*cls.FORMAT.unpack(data)) if len(data) == cls.FORMAT.size else None


def folder() -> Path:
    return Path(settings.RECORDINGS_DIR)


def mark_of(cast: Path) -> Path:
    return cast.with_suffix(".mark")


def watch_of(cast: Path) -> Path:
    return cast.with_suffix(".watch")


class CastFile:
    """A cast that this process writes. Not for two threads at once."""

    def __init__(self, descriptor: int, cast: Path, mark: Mark) -> None:
        self.descriptor = descriptor
        self.cast = cast
        self.position, self.size = mark.position, mark.size
        self.writer = Writer(mark.started, mark.elapsed)
        self._mark = os.open(mark_of(cast), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @classmethod
    def create(cls, cast: Path, header: bytes, started: float, position: int) -> Self:
        """Begin a cast at `position` of the terminal's output. Raises OSError."""
        cast.parent.mkdir(mode=0o700, exist_ok=True)
        _need_room(cast)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(cast, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made = cls(descriptor, cast, Mark(position, 0, 0.0, started))
        except OSError:
            os.close(descriptor)
            remove(cast)
            raise
        try:
            made._write(header, position)
        except OSError:
            made.release()
            remove(cast)
            raise
        return made

    @classmethod
    def resume(cls, cast: Path) -> Self:
        """Go on with an open cast. Raises Busy while another writes it, FileNotFoundError once it is closed."""
        descriptor = os.open(cast, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _lock(descriptor, cast)
            mark = Mark.read(cast)
            if mark is None:
                raise FileNotFoundError(f"{cast.name} is closed")
            os.ftruncate(descriptor, mark.size)
            return cls(descriptor, cast, mark)
        except OSError:
            os.close(descriptor)
            raise

    def append(self, events: Iterable[Event], position: int) -> None:
        """Write events, after which `position` bytes of output are in the cast. Raises Full or another OSError."""
        lines = self.writer.lines(events)
        if self.size + len(lines) > settings.RECORDINGS_MOST:
            raise Full(f"it reached the limit of {settings.RECORDINGS_MOST // 1_000_000} MB")
        _need_room(self.cast)
        self._write(lines, position - self.writer.undecoded)

    def _write(self, lines: bytes, position: int) -> None:
        written = 0
        while written < len(lines):
            written += os.pwrite(self.descriptor, lines[written:], self.size + written)
        self.size += len(lines)
        self.position = position
        mark = Mark(self.position, self.size, self.writer.elapsed, self.writer.started)
        os.pwrite(self._mark, mark.pack(), 0)

    def release(self) -> None:
        """Let another process go on with it. The sweep counts from now: a shell may have been silent for long."""
        with suppress(OSError):
            os.utime(self._mark)
        os.close(self._mark)
        os.close(self.descriptor)

    def seal(self, last_words: str = "", at: float = 0.0) -> None:
        """Close the cast for good, with `last_words` as a marker. What cannot be written any more is left out."""
        try:
            with suppress(OSError):
                lines = self.writer.rest()
                if last_words:
                    lines += self.writer.lines([Event(at, MARKER, last_words)])
                self._write(lines, self.position)
            _finish(self.descriptor, self.cast, self.size)
        finally:
            self.release()


class Turn:
    """Says to whoever writes a cast that another waits for it: a lock on the mark. They wait one after the other."""

    def __init__(self, cast: Path) -> None:
        """Raises Busy while another waits, FileNotFoundError once the cast is closed."""
        self.descriptor = os.open(mark_of(cast), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _lock(self.descriptor, cast)
        except OSError:
            os.close(self.descriptor)
            raise

    def release(self) -> None:
        """For the second time it does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_wanted(cast: Path) -> bool:
    """Whether somebody waits for this cast."""
    return is_written(mark_of(cast))


def seal_left(cast: Path) -> Mark | None:
    """Close the cast of a process that is gone: its last mark. None when there is none. Raises Busy."""
    descriptor = os.open(cast, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _lock(descriptor, cast)
        mark = Mark.read(cast)
        if mark is not None:
            _finish(descriptor, cast, mark.size)
        return mark
    finally:
        os.close(descriptor)


def _finish(descriptor: int, cast: Path, size: int) -> None:
    with suppress(OSError):  # a disk with trouble may keep a piece of a line: readers leave that out
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    mark_of(cast).unlink(missing_ok=True)


def is_written(cast: Path) -> bool:
    """Whether a process has this cast open for writing (for any file: has it locked)."""
    try:
        descriptor = os.open(cast, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def complete_size(cast: Path) -> int:
    """Bytes of whole lines. Raises FileNotFoundError."""
    mark = Mark.read(cast)
    return mark.size if mark is not None else cast.stat().st_size


def read(cast: Path, offset: int, most: int) -> bytes:
    """Up to `most` bytes from `offset`. Raises FileNotFoundError."""
    descriptor = os.open(cast, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(descriptor, most, offset)
    finally:
        os.close(descriptor)


def remove(cast: Path) -> None:
    """Everything of one recording, as far as it is there."""
    for path in (cast, mark_of(cast)):
        path.unlink(missing_ok=True)
    shutil.rmtree(watch_of(cast), ignore_errors=True)


def _lock(descriptor: int, cast: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise Busy(f"{cast.name} is being written") from exc


def _need_room(cast: Path) -> None:
    """A disk that recordings filled would take Gantry's database with it."""
    found = os.statvfs(cast.parent)
    if found.f_bavail * found.f_frsize < settings.RECORDINGS_RESERVE:
        raise Full(f"the disk has less than {settings.RECORDINGS_RESERVE // 1_000_000} MB left")


class WatchFile:
    """Says that somebody watches, for as long as this process lives: a locked file with a name in it."""

    def __init__(self, cast: Path, token: str, name: str) -> None:
        place = watch_of(cast)
        place.mkdir(mode=0o700, exist_ok=True)
        hidden = place / f".{token}"
        self.path = place / token
        self.descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        os.write(self.descriptor, json.dumps(name).encode())
        hidden.rename(self.path)

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)
        with suppress(OSError):
            self.path.parent.rmdir()


def watchers(cast: Path) -> list[str]:
    """The names of those who watch now; what a killed process left of its own is cleared away."""
    names = []
    try:
        found = sorted(watch_of(cast).iterdir())
    except FileNotFoundError:
        return []
    for path in found:
        if path.name.startswith("."):
            continue
        with suppress(FileNotFoundError, ValueError):
            if is_written(path):
                names.append(str(json.loads(path.read_bytes())))
            else:
                path.unlink()
    return sorted(names)
