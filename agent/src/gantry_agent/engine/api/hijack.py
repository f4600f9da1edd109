"""Taking a connection over from HTTP: attach and exec carry raw bytes both ways after the answer's head.

    stream = await hijack(request, framed=True)
    data = await stream.read()       # b"" once the client has half-closed: the end of its input, nothing else
    await stream.write(data)         # waits while the client is slow; ConnectionResetError once it has gone
    return stream.finish()           # what the handler answers with: nothing more is written

aiohttp's own protocol closes the connection when the client half-closes, so its place is taken by ours as soon as the
body has been read and before the head is written. It still hears of the connection's end. A client sends its input
once it has read the head, as with every upgrade: what comes earlier is aiohttp's to read as a next request.
"""

import asyncio
import select

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from .routes import API_VERSION, lasting

HIGH_WATER = 256 << 10  # bytes read and not yet taken, in each direction
HANG_UP_CHECK = 1.0  # seconds between looks at a half-closed connection

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


class Stream(asyncio.Protocol):
    """One hijacked connection: reading with backpressure, writing with backpressure, half-close told apart."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._before = before
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._has_ended = self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.gone = asyncio.Event()
        """The connection is closed in both directions."""

    async def read(self) -> bytes:
        """What the client sent; b"" at the end of its input. Raises ConnectionResetError when it has gone."""
        await self._readable.wait()
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            if not self._has_ended:
                self._readable.clear()
            if self._is_paused and not self._transport.is_closing():
                self._is_paused = False
                self._transport.resume_reading()
            return data
        if self._has_ended:
            return b""
        raise ConnectionResetError("the client has gone")

    async def write(self, data: bytes) -> None:
        """Send, and wait until the client takes it. Raises ConnectionResetError when it has gone."""
        if self.gone.is_set() or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        await self._writable.wait()

    def finish(self) -> web.StreamResponse:
        """What the handler answers with; the connection is closed once everything written has left."""
        return _Finished()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = self._has_ended or exc is None
        self.gone.set()
        self._readable.set()
        self._writable.set()
        self._before.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._readable.set()
        if len(self._buffer) >= HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
            self._look_later()

    def eof_received(self) -> bool:
        """The client will send no more; it may still read. Keeps the connection open."""
        self._has_ended = True
        self._readable.set()
        self._look_later()
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(HANG_UP_CHECK, self._look)

    def _look(self) -> None:
        """While nothing is read, only the socket itself tells that the client has gone."""
        self._timer = None
        if self._transport.is_closing() or not (self._has_ended or self._is_paused):
            return
        poller = select.poll()
        poller.register(self._transport.get_extra_info("socket").fileno(), 0)
        if any(flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, flags in poller.poll(0)):
            self._transport.abort()
        else:
            self._look_later()


async def hijack(request: web.Request, *, framed: bool) -> Stream:
    """Take the connection of a request whose body has been read, and write the head: 101 to a client that asked to
    upgrade, else 200, as Docker does. `framed`: frames of several streams follow."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise ConnectionResetError("the client has gone")
    lasting(request)
    stream = Stream(transport, request.protocol)
    transport.set_protocol(stream)
    transport.set_write_buffer_limits(high=HIGH_WATER)
    if not transport.is_reading():
        transport.resume_reading()
    kind = stream_type(request, is_framed=framed)
    if request.headers.get("Upgrade"):
        head = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    else:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n"
    transport.write(head.encode())
    return stream


def stream_type(request: web.Request, *, is_framed: bool) -> str:
    """The Content-Type of output; only from API 1.42 on it tells frames from bare bytes."""
    major, minor = (request.match_info.get("api_version") or API_VERSION).split(".")
    return MULTIPLEXED if is_framed and (int(major), int(minor)) >= (1, 42) else RAW


class _Finished(web.StreamResponse):
    """An answer that has been given already."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
