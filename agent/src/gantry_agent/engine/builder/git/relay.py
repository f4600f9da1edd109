"""The only way out of the network namespace git runs in: connections are made here, to addresses that may be asked.

So redirects, submodules and whatever else a repository names are held to the engine's `build-fetches`. git reaches it
as a SOCKS proxy (RFC 1928), which leaves names to be resolved here; for git:// it stands for the one server meant.
"""

import asyncio
import errno
import ipaddress
import os
import socket
from typing import Any, Self

from gantry_agent.engine.builder.reach import public_socket
from gantry_agent.engine.networks import namespaces

CHUNK = 256 << 10  # bytes
STALL = 60.0  # seconds a server may send nothing
HEAD, REFUSED = b"\x05\x00\x00\x01" + bytes(6), b"\x05\x02\x00\x01" + bytes(6)
IPV4, NAME, IPV6 = 1, 3, 4


class Relay:
    """Open while git fetches. `namespace` is a descriptor of the namespace, `port` the relay's on its loopback."""

    def __init__(self, *, is_any_allowed: bool, most: int, target: tuple[str, int] | None = None) -> None:
        self.namespace = self.port = -1
        self.failure = ""
        """Why something was not passed on, for the message."""
        self._is_any_allowed = is_any_allowed
        self._left = self._most = most
        self._target = target
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self.namespace, listening = await asyncio.to_thread(namespaces.unnamed, _listen)
        self.port = listening.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listening)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        os.close(self.namespace)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            host, port = self._target or await _asked(reader, writer)
            await self._join(host, port, reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # git has heard of it, or has gone
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _join(self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_there, to_there = await asyncio.open_connection(sock=await self._connected(host, port))
        except OSError as exc:
            self.failure = f"{host} cannot be reached: {exc.strerror or exc}"
            writer.write(b"" if self._target else REFUSED)
            await writer.drain()
            return
        try:
            writer.write(b"" if self._target else HEAD)
            upwards = asyncio.create_task(_pass_on(reader, to_there))
            try:
                await self._downwards(host, from_there, writer)
            finally:
                upwards.cancel()
                await asyncio.gather(upwards, return_exceptions=True)
        finally:
            to_there.close()

    async def _connected(self, host: str, port: int) -> socket.socket:
        """A socket to the first address of a host that answers. Raises OSError."""
        loop = asyncio.get_running_loop()
        error = OSError(errno.EHOSTUNREACH, "it has no address")
        for found in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                made = socket.socket(*found[:3]) if self._is_any_allowed else public_socket(found)
            except OSError as exc:
                error = exc
                continue
            made.setblocking(False)
            try:
                async with asyncio.timeout(STALL):
                    await loop.sock_connect(made, found[4])
            except (OSError, TimeoutError) as exc:
                made.close()
                error = (
                    exc if isinstance(exc, OSError) and exc.errno else OSError(errno.ETIMEDOUT, "it does not answer")
                )
            except BaseException:
                made.close()
                raise
            else:
                return made
        raise error

    async def _downwards(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(STALL):
                    chunk = await reader.read(CHUNK)
            except TimeoutError:
                self.failure = f"{host} sent nothing for {STALL:g} s"
                raise
            if not chunk:
                return
            self._left -= len(chunk)
            if self._left < 0:
                self.failure = f"{host} sends more than {self._most} bytes"
                return
            writer.write(chunk)
            await writer.drain()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
    """The host and port a SOCKS client wants. Raises ValueError, IncompleteReadError."""
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(b"\x05\x00")
    _, command, _, kind = await reader.readexactly(4)
    if kind == NAME:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    elif kind in (IPV4, IPV6):
        host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == IPV4 else 16)))
    if command != 1 or kind not in (IPV4, NAME, IPV6):
        raise ValueError("only connections are made")
    return host, int.from_bytes(await reader.readexactly(2), "big")


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
