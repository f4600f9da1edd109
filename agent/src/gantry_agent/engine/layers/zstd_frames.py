"""Where the frames of a zstd stream end (RFC 8878, section 3): the library's reader takes a stream cut short for one
that has ended.
"""

from collections.abc import Callable

RLE = 1
SKIPPABLE = 0x184D2A50


class FrameWalker:
    """Follows a stream by its block headers; checks nothing that the decompressor checks."""

    def __init__(self) -> None:
        self._step: Callable[[bytes], None] = self._magic
        self._need = 4  # bytes the step wants
        self._have = b""
        self._skip = 0  # bytes to pass over first
        self._has_checksum = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        at = 0
        while at < len(data):
            if self._skip:
                passed = min(self._skip, len(data) - at)
                self._skip -= passed
                at += passed
                continue
            piece = data[at : at + self._need - len(self._have)]
            at += len(piece)
            self._have += piece
            if len(self._have) == self._need:
                whole, self._have = self._have, b""
                self._step(whole)

    @property
    def is_whole(self) -> bool:
        """Whether the stream may end here."""
        return self._step == self._magic and not self._have and not self._skip

    def _next(self, step: Callable[[bytes], None], need: int, skip: int = 0) -> None:
        self._step, self._need, self._skip = step, need, skip

    def _magic(self, magic: bytes) -> None:
        if int.from_bytes(magic, "little") & ~0xF == SKIPPABLE:
            self._next(self._skippable, 4)
        else:
            self._next(self._descriptor, 1)

    def _skippable(self, size: bytes) -> None:
        self._next(self._magic, 4, int.from_bytes(size, "little"))

    def _descriptor(self, descriptor: bytes) -> None:
        flags = descriptor[0]
        is_single = flags >> 5 & 1
        self._has_checksum = bool(flags >> 2 & 1)
        rest = (1 - is_single) + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
        self._next(self._block, 3, rest)

    def _block(self, header: bytes) -> None:
        value = int.from_bytes(header, "little")
        size = 1 if value >> 1 & 3 == RLE else value >> 3
        if value & 1:
            self._next(self._magic, 4, size + (4 if self._has_checksum else 0))
        else:
            self._next(self._block, 3, size)
