"""One stream of the tunnel, agent's end: a WebSocket on one side, a local socket on the other.

Constant memory: each direction holds at most one frame beside the sockets' own buffers, because it
writes and waits for the drain before it reads on. Ends of input travel as text frames; a full close as
WebSocket code 1000; anything else is a reset and becomes one on the local socket.
"""

import asyncio
import contextlib
import json
import select
import socket

import aiohttp

CHUNK = 256 * 1024  # bytes in one frame at most
HANG_UP_CHECK = 1.0  # seconds between looks at a half-closed local socket
RESET_PATIENCE = 2.0  # seconds for the other end to answer a reset
RESET = 4000  # WebSocket close code: the local side broke off
EOF = json.dumps({"type": "eof"})


class Reset(Exception):
    """One side broke off: what was in flight is lost, and the other side must see that."""


class PatientReader(asyncio.StreamReader):
    """A reader that gives what arrived before it tells of a reset, as the kernel does.

    An engine that answers early and closes resets the connection behind its answer; asyncio's own reader
    would throw the answer away.
    """

    broken: Exception | None = None

    def set_exception(self, exc: Exception) -> None:
        self.broken = exc
        self.feed_eof()


class Pipe:
    """Both directions of one stream. Use: `await Pipe(ws, reader, writer).run()`."""

    def __init__(
        self, ws: aiohttp.ClientWebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.ws, self.reader, self.writer = ws, reader, writer
        self.out_ended = self.in_ended = self.deaf = False
        # A transport whose write fails closes its socket, and with it what the kernel still holds for us to read.
        self.spare = writer.get_extra_info("socket").dup()

    async def run(self) -> None:
        """Carry bytes until both directions ended or one side is gone, then close both sides."""
        tasks = [asyncio.create_task(self._outward()), asyncio.create_task(self._inward())]
        code = RESET
        try:
            # Each direction returns only once the whole stream is over.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            code = aiohttp.WSCloseCode.OK
        except (Reset, OSError, aiohttp.ClientError):
            self.writer.transport.abort()
        except asyncio.CancelledError:
            self.writer.transport.abort()
            raise
        finally:
            self.writer.close()
            await self._end(tasks, code)

    async def _end(self, tasks: list[asyncio.Task[None]], code: int) -> None:
        """Close the WebSocket, then end what still reads or writes it.

        In this order: aiohttp closes the connection at once when a `receive` was cancelled before, and a TCP
        connection closed with unread input is reset, which destroys what we sent last on its way.
        """
        try:
            await self._close(code)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.spare.close()

    async def _close(self, code: int) -> None:
        """Close the WebSocket. In order: wait for the other end however long it takes, since it may still be
        handing what we sent to a slow reader, and a TCP connection closed meanwhile could lose the rest."""
        with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(None if code == aiohttp.WSCloseCode.OK else RESET_PATIENCE):
                await self.ws.close(code=code)

    async def _outward(self) -> None:
        """Local socket → WebSocket; returns when the local side has closed completely, or both ended."""
        while data := await self.reader.read(CHUNK):
            await self.ws.send_bytes(data)
        if getattr(self.reader, "broken", None) is not None:
            await self._salvage()
            raise Reset("the local side broke off")
        await self.ws.send_str(EOF)
        self.out_ended = True
        # A reader that reached its end hears no more of its socket: look now and then whether the other
        # direction is gone as well, or a vanished local side would leave the stream open for ever.
        while not (self.in_ended or hung_up(self.writer)):  # noqa: ASYNC110  no event tells a hang-up
            await asyncio.sleep(HANG_UP_CHECK)

    async def _salvage(self) -> None:
        """What the local side had sent before it broke off; all of it is in the kernel already."""
        with contextlib.suppress(OSError):
            while data := self.spare.recv(CHUNK, socket.MSG_DONTWAIT):
                await self.ws.send_bytes(data)

    async def _inward(self) -> None:
        """WebSocket → local socket; returns when the gateway's side closed in order, or both ended."""
        while not (self.in_ended and self.out_ended):
            message = await self.ws.receive()
            if message.type is aiohttp.WSMsgType.BINARY and self.deaf:
                continue
            if message.type is aiohttp.WSMsgType.BINARY and not self.in_ended:
                self.writer.write(message.data)
                try:
                    await self.writer.drain()
                except OSError:
                    # It broke off; what it said before is still on its way outward, and ends the stream.
                    self.deaf = True
            elif message.type is aiohttp.WSMsgType.PING:
                await self.ws.pong(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                _expect_eof(message.data)
                self.in_ended = True
                with contextlib.suppress(OSError):
                    self.writer.write_eof()
            elif message.type is aiohttp.WSMsgType.CLOSE and message.data == aiohttp.WSCloseCode.OK:
                return
            elif message.type is not aiohttp.WSMsgType.PONG:
                raise Reset(f"unexpected {message.type.name}")


def _expect_eof(text: str) -> None:
    try:
        kind = json.loads(text)["type"]
    except (ValueError, KeyError, TypeError) as exc:
        raise Reset("a text frame that is not ours") from exc
    if kind != "eof":
        raise Reset(f"expected eof, got {kind!r}")


def hung_up(writer: asyncio.StreamWriter) -> bool:
    """Has the peer of a stream socket closed both directions? (POLLHUP; a half-close is only POLLRDHUP.)"""
    raw = writer.get_extra_info("socket")
    if raw is None or raw.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(raw.fileno(), 0)
    return any(flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, flags in poller.poll(0))
