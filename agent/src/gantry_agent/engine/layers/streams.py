"""What comes in on a pipe, decompressed and hashed beside the thread that uses it. Runs in the worker."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from isal import igzip_lib

from .extract import ExtractError, Limits
from .zstd_frames import FrameWalker

IN_CHUNK = 1 << 20  # bytes read at once
OUT_CHUNK = 1 << 20  # bytes decompressed at once, however far they would unpack
QUEUED = 8  # chunks a slower thread may lag behind
MAX_WINDOW = 128 << 20  # bytes of memory a zstd stream may ask for; what `zstd --long=27` makes
XZ_MEMORY = 128 << 20  # bytes
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Damaged(Exception):
    """The compressed stream is broken."""


def from_stdin(size: int) -> bytes:
    """What comes in on the pipe."""
    return os.read(0, size)


class Input:
    """What `read` gives, with the bytes counted. The first read tells the compression, before the root is changed."""

    def __init__(self, read: Callable[[int], bytes] = from_stdin) -> None:
        self._read = read
        self.count = 0
        self._first = b""
        while len(self._first) < 4 and (more := read(IN_CHUNK)):
            self._first += more
        self.compression = _compression(self._first)

    def read(self, size: int = IN_CHUNK) -> bytes:
        """The next bytes, b"" at the end; `size` is for those who read through a file object."""
        chunk, self._first = self._first, b""
        if len(chunk) > size:
            chunk, self._first = chunk[:size], chunk[size:]
        chunk = chunk or self._read(min(size, IN_CHUNK))
        self.count += len(chunk)
        return chunk


def prepare(source: Input) -> Callable[[], Iterator[bytes]]:
    """The right decompressor, with everything imported that it needs."""
    if source.compression == "gzip":
        return lambda: _with_object(
            source, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), igzip_lib.IsalError, "gzip"
        )
    if source.compression == "zstd":
        import zstandard  # the rarer ones are loaded when they are met, while that is still possible

        return lambda: _unzstd(source, zstandard)
    if source.compression == "xz":
        import lzma

        return lambda: _with_object(
            source, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY), lzma.LZMAError, "xz"
        )
    if source.compression == "bzip2":
        import bz2

        return lambda: _with_object(source, bz2.BZ2Decompressor, OSError, "bzip2")
    return lambda: iter(source.read, b"")


def import_all() -> None:
    """Import what any archive may need, for a worker that meets archives when nothing can be imported any more."""
    for name in ("bz2", "lzma", "zstandard"):
        import_module(name)


Item = TypeVar("Item")


class Bounded(Generic[Item]):
    """A queue of at most QUEUED items, of parts written in C: the standard one changes threads twice as often."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(QUEUED):
            self._room.put(None)

    def put(self, item: Item) -> None:
        """Wait for room."""
        self._room.get()
        self._items.put(item)

    def get(self) -> Item:
        """Wait for an item."""
        item = self._items.get()
        self._room.put(None)
        return item


class Pipeline:
    """Reads, decompresses and hashes in threads; `more` hands the plain chunks to the caller's thread."""

    def __init__(
        self, source: Input, limits: Limits, chunks: Callable[[], Iterator[bytes]], *, hashes: bool = True
    ) -> None:
        self._source = source
        self._limits = limits
        self._chunks = chunks
        self._out: Bounded[bytes | BaseException] = Bounded()
        self._hashes = hashes
        self._to_hash: Bounded[bytes] = Bounded()
        self._hash = hashlib.sha256()
        self._hasher = threading.Thread(target=self._hash_all, daemon=True)
        if hashes:
            self._hasher.start()
        threading.Thread(target=self._feed, daemon=True).start()

    def more(self) -> bytes:
        """The next plain chunk, b"" at the end. Raises what broke the stream."""
        found = self._out.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def digest(self) -> str:
        """Of all plain bytes, once `more` has answered b""; for one that `hashes`."""
        self._hasher.join()
        return f"sha256:{self._hash.hexdigest()}"

    def _feed(self) -> None:
        total = 0
        try:
            for chunk in self._chunks():
                total += len(chunk)
                if total > self._limits.slack + self._limits.ratio * self._source.count:
                    raise ExtractError(
                        f"{self._source.count} bytes unpack to more than {self._limits.ratio} times as many ({total})"
                    )
                if total > 2 * self._limits.size + self._limits.slack:
                    raise ExtractError(f"more than {total} bytes of archive")
                if self._hashes:
                    self._to_hash.put(chunk)
                self._out.put(chunk)
        except (Damaged, ExtractError, OSError, MemoryError) as exc:
            self._out.put(exc)
            return
        if self._hashes:
            self._to_hash.put(b"")
        self._out.put(b"")

    def _hash_all(self) -> None:
        while chunk := self._to_hash.get():
            self._hash.update(chunk)


def _compression(start: bytes) -> str:
    if start.startswith(GZIP_MAGIC):
        return "gzip"
    if start.startswith(b"BZh"):
        return "bzip2"
    if start.startswith(b"\xfd7zX"):
        return "xz"
    # A zstd stream may begin with a skippable frame, whose magic's low nibble is free.
    is_skippable = len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50
    return "zstd" if start.startswith(ZSTD_MAGIC) or is_skippable else "none"


def _with_object(source: Input, make: Callable[[], Any], error: Any, name: str) -> Iterator[bytes]:
    """All members of a stream, by the library's decompressor objects; padding with zeros may follow. Raises Damaged."""
    data = source.read()
    while data:
        stream = make()
        while not stream.eof:
            try:
                out = stream.decompress(data, OUT_CHUNK)
            except (error, EOFError, ValueError) as exc:
                raise Damaged(f"the {name} stream is damaged: {exc}") from exc
            if out:
                yield out
            data = source.read() if stream.needs_input and not stream.eof else b""
            if stream.needs_input and not data and not stream.eof:
                raise Damaged(f"the {name} stream ends too early")
        data = stream.unused_data or source.read()
        while data and not (data := data.lstrip(b"\0")):
            data = source.read()


def _unzstd(source: Input, library: Any) -> Iterator[bytes]:
    """All frames of a zstd stream. Raises Damaged."""
    decompressor = library.ZstdDecompressor(max_window_size=MAX_WINDOW)
    walked = _Walked(source)
    try:
        with decompressor.stream_reader(walked, read_size=IN_CHUNK, read_across_frames=True) as reader:
            while out := reader.read(OUT_CHUNK):
                yield out
    except library.ZstdError as exc:
        raise Damaged(f"the zstd stream is damaged: {exc}") from exc
    if not walked.walker.is_whole:
        raise Damaged("the zstd stream ends too early")


class _Walked:
    """An input whose frames are followed."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self.walker = FrameWalker()

    def read(self, size: int) -> bytes:
        chunk = self._source.read(size)
        self.walker.feed(chunk)
        return chunk
