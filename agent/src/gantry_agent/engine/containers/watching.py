"""Knowing that a folder's files changed, without asking again and again: one inotify instance for all followers.

with watcher.watch(folder) as changed:       # an asyncio.Event, set at each change
    changed.clear(); …look…; await changed.wait()
"""

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF, IN_IGNORED = 0x2, 0x80, 0x100, 0x400, 0x8000  # inotify(7)
QUIET = 0.003  # seconds between two reads: a chatty writer wakes us a few hundred times a second, not thousands
_EVENT = struct.Struct("iIII")

log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


class Watcher:
    """One inotify descriptor. Made on first use, closed with `close`."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._folders: dict[int, set[asyncio.Event]] = {}
        self._resuming: asyncio.TimerHandle | None = None

    @contextmanager
    def watch(self, folder: Path) -> Iterator[asyncio.Event]:
        """An event set whenever a file of the folder is written, made or renamed.

        Where the kernel has no watch left (fs.inotify.max_user_watches), or the folder has gone, it is never set:
        callers look again after a while anyway.
        """
        changed = asyncio.Event()
        try:
            if self._descriptor < 0:
                self._open()
            number = _add(self._descriptor, folder)
        except OSError as exc:
            log.warning("%s cannot be watched: %s", folder, exc)
            yield changed
            return
        self._folders.setdefault(number, set()).add(changed)
        try:
            yield changed
        finally:
            waiting = self._folders.get(number)
            if waiting is not None:
                waiting.discard(changed)
                if not waiting:
                    del self._folders[number]
                    _libc.inotify_rm_watch(self._descriptor, number)

    def close(self) -> None:
        if self._descriptor >= 0:
            if self._resuming:
                self._resuming.cancel()
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1: too many instances (fs.inotify.max_user_instances)")
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        """Wake whoever watches, then rest a moment: the kernel joins what happens meanwhile."""
        try:
            data = os.read(self._descriptor, 64 << 10)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            # An overflowing queue (number -1) may concern everybody.
            for changed in self._folders.get(number, ()) if number >= 0 else self._everybody():
                changed.set()
            if mask & IN_IGNORED:
                self._folders.pop(number, None)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        self._resuming = loop.call_later(QUIET, self._resume)

    def _resume(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _everybody(self) -> Iterator[asyncio.Event]:
        for events in self._folders.values():
            yield from events


def _add(descriptor: int, folder: Path) -> int:
    mask = IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF
    number = int(_libc.inotify_add_watch(descriptor, os.fsencode(folder), mask))
    if number < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(folder))
    return number
