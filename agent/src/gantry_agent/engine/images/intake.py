"""A request's body, read by blocking code: an uploaded archive is decompressed and taken apart in a thread.

The bytes go through a socket pair: its buffer is all that is held in memory, and a reader that stops reading slows the
client down.
"""

import asyncio
import bz2
import lzma
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import zstandard
from isal import igzip, isal_zlib

from gantry_agent.engine.errors import InvalidArgument

T = TypeVar("T")
BUFFER = 1 << 20  # bytes
MAX_WINDOW = 128 << 20  # bytes of memory a zstd stream may ask for, as the zstd program allows
FREE_EXPANSION = 1 << 30  # bytes that may come out of any archive
MAX_RATIO = 200  # beyond them: how many bytes may come out of one
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
LONGEST_MAGIC = 6  # bytes
BROKEN: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    lzma.LZMAError,
    zstandard.ZstdError,
    isal_zlib.error,  # type: ignore[assignment] # a class, whatever its stub says
)


class Readable(Protocol):
    """A source of bytes for blocking code: at most `size` of them, b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


def compression_of(start: bytes) -> str:
    """gzip, zstd, bzip2, xz, or "" for none, by the first six bytes."""
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")


async def in_thread(source: AsyncIterator[bytes], work: Callable[[Readable], T]) -> T:
    """Run `work(file)` in a thread of its own, where reading the file yields the source; its answer.

    A source that fails ends the thread's file early, and its own error is raised.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def run() -> T:
        with theirs, theirs.makefile("rb", BUFFER) as file:
            return work(file)

    with ThreadPoolExecutor(1, "intake") as pool:
        future = loop.run_in_executor(pool, run)
        try:
            async for chunk in source:
                await loop.sock_sendall(ours, chunk)
        except (BrokenPipeError, ConnectionResetError) as exc:
            if not future.done() and isinstance(exc, ConnectionResetError) and exc.errno is None:
                raise  # the client went away, not our thread
        finally:
            ours.close()
            await asyncio.wait([future])
    return await future


def opened(file: Readable) -> Readable:
    """The decompressed content of `file`, whatever it is compressed with; bounded against bombs. Blocks.

    Reading raises InvalidArgument when the archive is broken or expands beyond all measure.
    """
    counted = _Counted(file)
    kind = compression_of(counted.start())
    return _Guarded(_decompressed(kind, counted), counted) if kind else counted


def _decompressed(kind: str, source: Any) -> Any:
    if kind == "gzip":
        return igzip.IGzipFile(fileobj=source, mode="rb")
    if kind == "zstd":
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        return decompressor.stream_reader(source, read_across_frames=True)
    return bz2.BZ2File(source) if kind == "bzip2" else lzma.LZMAFile(source)


class _Counted:
    """Counts the bytes read; the first can be looked at before."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._start = b""
        self.count = 0

    def start(self) -> bytes:
        """The first bytes, which `read` will give again."""
        while len(self._start) < LONGEST_MAGIC and (more := self._file.read(BUFFER)):
            self._start += more
        return self._start[:LONGEST_MAGIC]

    def read(self, size: int = BUFFER, /) -> bytes:
        size = BUFFER if size < 0 else size
        chunk, self._start = self._start[:size], self._start[size:]
        chunk = chunk or self._file.read(size)
        self.count += len(chunk)
        return chunk

    def readinto(self, buffer: memoryview, /) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return True


class _Guarded:
    """Refuses a broken archive and one that expands without measure."""

    def __init__(self, file: Readable, counted: _Counted) -> None:
        self._file = file
        self._counted = counted
        self._count = 0

    def read(self, size: int, /) -> bytes:
        try:
            chunk = self._file.read(size)
        except BROKEN as exc:
            raise InvalidArgument(f"the archive is broken: {exc}") from exc
        self._count += len(chunk)
        if self._count > FREE_EXPANSION + MAX_RATIO * self._counted.count:
            raise InvalidArgument(
                f"the archive expands more than {MAX_RATIO} times beyond its first {FREE_EXPANSION >> 20} MiB"
            )
        return chunk
