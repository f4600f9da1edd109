"""Docker's stream framing: how one connection carries standard output and standard error of a container.

Each frame has eight bytes of header: stream (0 input, 1 output, 2 error, 3 a message of the engine
itself), three zero bytes, the length as a big-endian 32-bit number; then that many bytes. A container
with a TTY has no frames. Source: "Stream format" under ContainerAttach in the Engine API; moby pkg/stdcopy.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Protocol

from hosts.engine.errors import EngineProtocolError, EngineUnreachable, engine_error

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)
CHUNK = 64 * 1024
"""Bytes read at a time, and the largest piece given out."""

_HEADER = struct.Struct(">B3sL")
_LONGEST_SYSTEM_ERROR = 64 * 1024


class Reader(Protocol):
    """What can be read in pieces: HijackedStream, or the ``content`` of an aiohttp response."""

    async def read(self, n: int = -1, /) -> bytes:
        """At most ``n`` bytes; empty at the end."""
        ...


class Demultiplexer:
    """Takes bytes as they come, gives out (stream, bytes). Holds no more than a header, whatever it claims.

    A frame of 2 GB is given out piece by piece as it arrives, so its length is never memory of ours.
    Neighbouring frames of the same stream in one chunk come as one piece: a burst of short lines costs
    one step, not 1,000.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = STDOUT
        self._left = 0
        self._system_error = bytearray()

    @property
    def complete(self) -> bool:
        """Whether the bytes so far end where a frame ends."""
        return not self._header and not self._left

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The pieces in ``data``; EngineProtocolError for what is no frame, EngineError for stream 3."""
        if self._header:
            data, self._header = self._header + data, b""
        pieces: list[tuple[int, list[bytes]]] = []
        view = memoryview(data)
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                if end - at < _HEADER.size:
                    self._header = bytes(view[at:])
                    break
                self._read_header(data, at)
                at += _HEADER.size
                if not self._left and self._stream == SYSTEM_ERROR:
                    self._raise_system_error()
                continue
            piece = bytes(view[at : at + self._left])
            at += len(piece)
            self._left -= len(piece)
            if self._stream == SYSTEM_ERROR:
                self._collect_system_error(piece)
            elif pieces and pieces[-1][0] == self._stream:
                pieces[-1][1].append(piece)
            else:
                pieces.append((self._stream, [piece]))
        return [(stream, b"".join(parts)) for stream, parts in pieces]

    def _read_header(self, data: bytes, at: int) -> None:
        stream, zeros, self._left = _HEADER.unpack_from(data, at)
        if stream > SYSTEM_ERROR or zeros != b"\0\0\0":
            found = data[at : at + _HEADER.size]
            raise EngineProtocolError(
                f"Expected a stream frame (0 to 3, then three zero bytes), found {found!r}.",
                "A container with a terminal sends no frames: read it as it comes.",
            )
        # Docker: bytes under 0 (input) are echoed input and belong on the output.
        self._stream = stream or STDOUT

    def _collect_system_error(self, piece: bytes) -> None:
        self._system_error += piece[: _LONGEST_SYSTEM_ERROR - len(self._system_error)]
        if not self._left:
            self._raise_system_error()

    def _raise_system_error(self) -> None:
        raise engine_error(500, self._system_error.decode(errors="replace"))


async def demultiplex(reader: Reader) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (1 for output or 2 for error, bytes of at most 64 KiB) until the stream ends.

    EngineProtocolError for garbage, EngineUnreachable when it ends within a frame, EngineError for a
    message of the engine itself (stream 3).
    """
    demultiplexer = Demultiplexer()
    while data := await reader.read(CHUNK):
        for piece in demultiplexer.feed(data):
            yield piece
    if not demultiplexer.complete:
        raise EngineUnreachable("The stream ended in the middle of a frame: the connection to the engine broke.")
