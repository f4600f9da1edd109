"""Knowing at once when a process held by conmon has died: one inotify watch on the folder of exit files."""

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

IN_CLOSE_WRITE, IN_MOVED_TO = 0x8, 0x80  # inotify(7)
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)


class Exits:
    """Tells of each exit file once it is there: `on_exit(id, code)` in the event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = -1
        self._waiting: dict[str, Callable[[int], None]] = {}

    def open(self) -> None:
        """Begin to watch."""
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_CLOSE_WRITE | IN_MOVED_TO
        if self._descriptor < 0 or _libc.inotify_add_watch(self._descriptor, os.fsencode(self.folder), mask) < 0:
            raise OSError(ctypes.get_errno(), f"watching {self.folder}: {os.strerror(ctypes.get_errno())}")
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Watch no more."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def tell(self, process_id: str, callback: Callable[[int], None]) -> None:
        """Call `callback(exit code)` once, when that process's file is there; soon, if it is there already."""
        self._waiting[process_id] = callback
        if self.read(process_id) is not None:
            asyncio.get_running_loop().call_soon(self._look, process_id)

    def forget(self, process_id: str) -> None:
        """Tell no more of it, and remove its file."""
        self._waiting.pop(process_id, None)
        with suppress(FileNotFoundError):
            (self.folder / process_id).unlink()

    def read(self, process_id: str) -> int | None:
        """The exit code in its file, None while there is none."""
        try:
            text = (self.folder / process_id).read_text().strip()
        except OSError:
            return None
        return int(text) if text.lstrip("-").isdecimal() else None

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 64 << 10)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            number, _, _, length = _EVENT.unpack_from(data, offset)
            name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
            offset += _EVENT.size + length
            if number < 0:  # the queue overflowed: anybody may have died
                for each in tuple(self._waiting):
                    self._look(each)
            else:
                self._look(os.fsdecode(name))

    def _look(self, process_id: str) -> None:
        if process_id in self._waiting and (code := self.read(process_id)) is not None:
            self._waiting.pop(process_id)(code)
