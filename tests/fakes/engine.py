"""An engine that lies, on a unix socket: for what a host can do to us when it is broken or hostile.

    with LyingEngine(silent) as engine:                   # engine.socket, engine.connections
        …
    with LyingEngine(huge_label, about="/containers/json", truth=docker_engine.socket) as engine:
        …                                                 # honest in everything else

A lie is an async function that gets the connection after the request's headers. It runs in a thread of
its own, so that blocking tests and other processes can be its clients.
"""

import asyncio
import contextlib
import functools
import json
import shutil
import threading
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from tests.support.scratch import make_scratch

Lie = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TWO_GIGABYTES = 2 * 1024**3
_CHUNK = b"x" * 65536
_JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""
    await reader.read()


async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what is no HTTP."""
    writer.write(b"\x16\x03\x01\x02\x00 what is this? \0\0\r\n\r\n" * 100)
    await writer.drain()


async def garbage_json(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with HTTP whose body is no JSON."""
    writer.write(_JSON_HEAD + b'Content-Length: 9\r\n\r\n{"a": \xff\xff}')
    await writer.drain()


async def deep_json(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with 100,000 nested lists."""
    body = b"[" * 100_000 + b"]" * 100_000
    writer.write(_JSON_HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


async def wrong_shape(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with good JSON that is not at all what the API says."""
    writer.write(_JSON_HEAD + b'Content-Length: 24\r\n\r\n{"Id": ["no"], "Names":7}')
    await writer.drain()


async def huge_label(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """List one container with a label of 2 GB."""
    opening = b'[{"Id": "a", "Labels": {"k": "'
    closing = b'"}}]'
    length = len(opening) + TWO_GIGABYTES + len(closing)
    writer.write(_JSON_HEAD + f"Content-Length: {length}\r\n\r\n".encode() + opening)
    await _flood(writer, TWO_GIGABYTES)
    writer.write(closing)
    await writer.drain()


@functools.cache
def _bomb() -> bytes:
    """Made once: it takes seconds, in which the liar's loop stands still."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(1024)) + packer.flush()


async def zip_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with 1 MB of gzip that opens to 1 GB."""
    body = _bomb()
    head = _JSON_HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    writer.write(head + body)
    await writer.drain()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer whose headers never end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        writer.write(b"".join(b"X-%d: %s\r\n" % (number + n, b"y" * 200) for n in range(100)))
        number += 100
        await writer.drain()


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer with one header that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    await _flood(writer, TWO_GIGABYTES)


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a string that never ends, in chunks."""
    writer.write(_JSON_HEAD + b'Transfer-Encoding: chunked\r\n\r\n2\r\n["\r\n')
    while True:
        writer.write(b"10000\r\n" + _CHUNK + b"\r\n")
        await writer.drain()


async def endless_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stream one message that never ends, after an honest one."""
    writer.write(_JSON_HEAD + b'\r\n{"status": "ok"}\r\n{"status": "')
    await _flood(writer, TWO_GIGABYTES)


async def endless_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuse with an explanation that never ends."""
    writer.write(b'HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\r\n{"message": "')
    await _flood(writer, TWO_GIGABYTES)


async def huge_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Announce a log frame of 2 GB, send a little of it, and stay."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
    writer.write(b"\1\0\0\0" + (TWO_GIGABYTES - 1).to_bytes(4, "big") + _CHUNK * 4)
    await writer.drain()
    await reader.read()


async def broken_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise 1,000 bytes, send ten, close."""
    writer.write(_JSON_HEAD + b'Content-Length: 1000\r\n\r\n[{"Id": "a')
    await writer.drain()


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one byte of an endless list every 50 ms."""
    writer.write(_JSON_HEAD + b"\r\n[")
    while True:
        await asyncio.sleep(0.05)
        writer.write(b" ")
        await writer.drain()


def answers(body: object, status: int = 200) -> Lie:
    """A plain JSON answer, for what no real engine can be brought to say."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        content = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()

    return answer


class LyingEngine:
    """A server of one lie; a context manager. With ``truth``, requests not ``about`` a path part go there."""

    def __init__(self, lie: Lie, *, socket: Path | None = None, about: str = "", truth: Path | None = None) -> None:
        self.lie = lie
        self.about = about
        self.truth = truth
        self._folder = make_scratch()
        self.socket = socket or self._folder / "lying.sock"
        self.connections = 0
        """Connections open now."""
        self.lies = 0
        """Requests lied to so far."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(self._folder)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            # Not in the task itself: one that is cancelled before its first step runs nothing of its own.
            task.add_done_callback(lambda _: writer.transport.abort())

        server = await asyncio.start_unix_server(connected, self.socket)
        self._ready.set()
        await self._stop.wait()
        # A connection accepted but not yet served when its server closes would be dropped unclosed (asyncio).
        for listener in server.sockets:
            self._loop.remove_reader(listener.fileno())
        await _some_rounds()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _some_rounds()  # and aborted transports close their sockets

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(None, 2)[1].decode()
            if self.truth and self.about not in target:
                await self._relay(head, reader, writer)
            else:
                self.lies += 1
                await self._until_gone(reader, writer)
        except* (OSError, asyncio.IncompleteReadError):
            pass  # The client has seen enough.
        finally:
            self.connections -= 1

    async def _until_gone(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.lie(reader, writer)
        if writer.can_write_eof():
            writer.write_eof()
        await reader.read()

    async def _relay(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self.truth)
        # Each connection carries one request here, or a lie could hide behind an honest answer.
        back.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if b"Upgrade" not in head else head)
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(_copy(reader, back))
                await _copy(there, writer)
                up.cancel()
        finally:
            back.transport.abort()


async def _some_rounds() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    with contextlib.suppress(OSError):
        target.write_eof()


async def _flood(writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(size // len(_CHUNK)):
        writer.write(_CHUNK)
        await writer.drain()
