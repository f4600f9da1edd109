"""The local sockets of one host: made private, put in place by a rename, taken away again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from hosts.gateway.pipe import PatientReader

CHUNK = 256 * 1024  # bytes read ahead of a slow tunnel, at most twice this
LINGER = 1.0  # seconds a refused client gets to read its answer
BACKLOG = 1024

Serve = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class LocalSockets:
    """`<host>.sock` (target "engine") and `<host>.agent.sock` (target "agent") in one folder."""

    def __init__(self, folder: Path, host: str, serve: Serve) -> None:
        self.paths = {"engine": folder / f"{host}.sock", "agent": folder / f"{host}.agent.sock"}
        self.serve = serve
        self.servers: dict[str, asyncio.AbstractServer] = {}
        self.inodes: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        return bool(self.servers)

    async def open(self) -> None:
        """Listen on both. Files left by a killed gateway are replaced. Raises OSError."""
        for target, path in self.paths.items():
            bound = bind(path)
            self.inodes[target] = path.stat().st_ino

            self.servers[target] = await asyncio.get_running_loop().create_unix_server(
                self._protocol_for(target), sock=bound, backlog=BACKLOG
            )

    def _protocol_for(self, target: str) -> Callable[[], asyncio.StreamReaderProtocol]:
        """What `asyncio.start_unix_server` would make, with a reader that keeps what came before a reset."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.serve(target, reader, writer)

        def make() -> asyncio.StreamReaderProtocol:
            loop = asyncio.get_running_loop()
            return asyncio.StreamReaderProtocol(PatientReader(limit=CHUNK, loop=loop), client, loop=loop)

        return make

    def close(self) -> None:
        """Stop listening and remove the files, unless another gateway has put its own there since."""
        for target, server in self.servers.items():
            path = self.paths[target]
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == self.inodes[target]:
                    path.unlink()
            server.close()
        self.servers.clear()


def bind(path: Path) -> socket.socket:
    """A bound unix socket at `path`, mode 0600 before anybody can find it. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.bind(str(temporary))
        temporary.chmod(0o600)
        bound.listen(BACKLOG)
        os.replace(temporary, path)
    except BaseException:
        bound.close()
        temporary.unlink(missing_ok=True)
        raise
    return bound


def sweep(folder: Path) -> None:
    """Remove socket files of an earlier gateway on which nobody listens any more."""
    for path in folder.glob("*.sock*"):
        if stat.S_ISSOCK(path.lstat().st_mode) and not somebody_listens(path):
            path.unlink(missing_ok=True)


def somebody_listens(path: Path) -> bool:
    """Does a process accept connections on this socket file?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: str) -> None:
    """Answer 503 as an engine would, whatever was asked, and close."""
    body = json.dumps({"message": message}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER):
            writer.write(head.encode() + body)
            await writer.drain()
            writer.write_eof()
            # A unix socket closed with unread input resets its peer, who would lose the answer.
            while await reader.read(CHUNK):
                pass
    writer.close()
