"""A container's log on disk: the file conmon writes and those rotated away, read in order and never twice.

    containers/ID/ctr.log              written now
    containers/ID/ctr.log.00000001     rotated, oldest first; numbers only grow

Rotation is ours: the file gets its number as a second name, then conmon is told to open its path anew, which puts a
fresh file there. Until then it goes on writing to the old one, so nothing is lost whatever dies in between; and
whoever follows reads one file to its end and goes on with the next.

A reader that lags behind keeps the files it has still to read open (`hold`), so that neither rotation nor the removal
of the container takes them away under it: an attached client gets every byte, however slow it is, up to HOLD_LIMIT.
"""

import contextlib
import os
import re
import threading
import weakref
from collections import deque
from pathlib import Path

from .log_records import STAMP, TIME, to_utc
from .log_tail import Tail

BLOCK = 512 << 10  # bytes read at once; more than a record ever has (conmon reads 8 KiB at a time)
HOLD_LIMIT = 1 << 30  # bytes a reader may lag behind in files that are not kept any more
_NUMBER = re.compile(r"\.(\d{8})$")


def rotated(path: Path) -> list[tuple[int, Path]]:
    """The numbers and paths of the files rotated away, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(path.name) and (match := _NUMBER.fullmatch(entry.name, len(path.name))):
                found.append((int(match[1]), Path(entry.path)))
    return sorted(found)


def rotate(path: Path, keep: int) -> None:
    """Give the current file the next number, and delete the oldest but `keep`. The caller tells conmon, once: told
    twice it would put a second fresh file in the place of the first. Doing this again before then changes nothing."""
    files = rotated(path)
    if not _is_linked(path, files):
        os.link(path, f"{path}.{files[-1][0] + 1 if files else 1:08d}")
        files = rotated(path)
    for _, old in files[: max(0, len(files) - keep)]:
        old.unlink(missing_ok=True)


def _is_linked(path: Path, files: list[tuple[int, Path]]) -> bool:
    """Whether the current file has its number already."""
    with contextlib.suppress(FileNotFoundError):
        return bool(files) and path.samefile(files[-1][1])
    return False


_cursors: weakref.WeakSet["Cursor"] = weakref.WeakSet()


def hold(path: Path) -> None:
    """Everybody who reads this log holds what is left to read: called before files go."""
    for cursor in tuple(_cursors):
        if cursor.path == path:
            cursor.hold()


class TooFarBehind(ConnectionResetError):
    """More than HOLD_LIMIT waits for a reader in files that are not kept any more."""


class Cursor:
    """A place in a log that moves forward. Blocking, briefly: `behind` says how much there is to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._number = 0
        self._position = 0
        self._end: tuple[int, int] | None = None  # number and size of the file to stop at
        self._held: deque[tuple[int, int]] = deque()  # numbers and descriptors of the next files
        self._lock = threading.Lock()  # reading may go on in a thread while the event loop holds
        self._is_closed = self._is_lost = False
        self.skips: dict[int, int] = {}
        """By stream how many of the next lines are not wanted."""
        self._open_from(0)
        _cursors.add(self)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            _cursors.discard(self)
            self._drop()
            while self._held:
                os.close(self._held.popleft()[1])

    def hold(self) -> None:
        """Open the files that come next, so that they can be read though they are deleted."""
        with self._lock:
            if self._is_closed:
                return
            last = self._held[-1][0] if self._held else self._number
            for number, path in self._files():
                if number > last:
                    with contextlib.suppress(FileNotFoundError):
                        self._held.append((number, os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
            self._is_lost = sum(os.fstat(descriptor).st_size for _, descriptor in self._held) > HOLD_LIMIT

    def _drop(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def seek_end(self) -> None:
        """Go behind what is written now."""
        files = self._files()
        if files and self._open_from(files[-1][0]):
            self._position = os.fstat(self._descriptor).st_size

    def seek_tail(self, count: int) -> None:
        """Go to where the last `count` lines begin; `skips` says what is to be passed over from there on."""
        tail, opened = Tail(count, BLOCK), dict[int, int]()
        try:
            for number, path in reversed(self._files()):
                with contextlib.suppress(FileNotFoundError):
                    opened[number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    if tail.take(number, opened[number]):
                        break
            if opened:
                (number, position), self.skips = tail.place(min(opened))
                self._drop()
                self._descriptor, self._number, self._position = opened.pop(number), number, position
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def seek_time(self, since: bytes) -> None:
        """Go forward to the first record not older than `since`; records are taken to be in order of time."""
        while self._descriptor >= 0:
            self._position = _first_since(self._descriptor, self._position, since)
            if self._position < os.fstat(self._descriptor).st_size or not self._advance():
                return

    def stop_here(self) -> None:
        """Read no further than what is written now."""
        files = self._files()
        number, path = files[-1] if files else (0, self.path)
        with contextlib.suppress(FileNotFoundError):
            self._end = (number, path.stat().st_size)

    @property
    def behind(self) -> int:
        """Bytes of the present file that were not read yet."""
        return os.fstat(self._descriptor).st_size - self._position if self._descriptor >= 0 else 0

    def read(self, size: int = BLOCK) -> bytes:
        """The next whole records, at most `size` bytes; b"" when there are none now.

        Raises TooFarBehind when it lags so far behind that its files cannot be held for it any longer: better
        than a gap that nobody sees.
        """
        if self._is_lost:
            raise TooFarBehind("the reader is too far behind")
        while True:
            if self._descriptor >= 0:
                data = os.pread(self._descriptor, self._allowed(size), self._position)
                if cut := data.rfind(b"\n") + 1:
                    self._position += cut
                    return data[:cut]
            if (self._end is not None and self._number >= self._end[0]) or not self._advance():
                return b""

    def _allowed(self, size: int) -> int:
        if self._end is None or self._number < self._end[0]:
            return size
        return max(0, min(size, self._end[1] - self._position)) if self._number == self._end[0] else 0

    def _advance(self) -> bool:
        """Open the next file if there is one: then nothing is added to the present one any more.

        It may have grown since it was read last, just before conmon let it go: in that case stay.
        """
        with self._lock:
            if self._descriptor < 0:
                return self._open_next()
            with contextlib.suppress(FileNotFoundError):
                if not self._held and os.stat(self.path).st_ino == os.fstat(self._descriptor).st_ino:
                    return False
            if b"\n" in os.pread(self._descriptor, BLOCK, self._position):
                return False
            return self._open_next()

    def _open_next(self) -> bool:
        while self._held and self._held[0][0] <= self._number:
            os.close(self._held.popleft()[1])
        if not self._held:
            return self._open_from(self._number + 1)
        self._drop()
        self._number, self._descriptor = self._held.popleft()
        self._position = 0
        return True

    def _open_from(self, number: int) -> bool:
        """Open the oldest file numbered at least `number`; its place is its beginning."""
        for found, path in self._files():
            if found < number:
                continue
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            self._drop()
            self._descriptor, self._number, self._position = descriptor, found, 0
            return True
        return False

    def _files(self) -> list[tuple[int, Path]]:
        """All files, oldest first; the current one has the number it has or will get."""
        files = rotated(self.path)
        if _is_linked(self.path, files):
            return files
        if self.path.exists():
            files.append((files[-1][0] + 1 if files else 1, self.path))
        return files


def _first_since(descriptor: int, low: int, since: bytes) -> int:
    """The offset of the first record from `low` on that is not older than `since`: a binary search over bytes."""
    high = os.fstat(descriptor).st_size
    while high - low > BLOCK // 8:
        middle = (low + high) // 2
        data = os.pread(descriptor, BLOCK // 8, middle)
        begin = data.find(b"\n") + 1
        if not begin or len(data) < begin + STAMP:
            break
        if _utc_time(data[begin : begin + STAMP]) < since:
            low = middle + begin
        else:
            high = middle
    # What is left is at most a few blocks; the renderer passes over what is older.
    return low


def _utc_time(text: bytes) -> bytes:
    return text[:TIME] if text[TIME:] == b"+00:00" else to_utc(text)
