"""A process's terminal and pipes through conmon: its attach socket, its control fifo, and what carries bytes to both.

The attach socket keeps packets apart (SOCK_SEQPACKET): the first byte of one tells the stream, 2 standard output and 3
standard error; packets towards it are input. conmon waits for a reader of that socket, and the process waits for
conmon: so only what has one reader (an exec) is read there. A container's output is read from its log.
"""

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Protocol

from gantry_agent.engine.errors import Conflict, InvalidArgument

from .log_records import frame

PACKET = 8 << 10  # bytes; conmon reads input and output in pieces of that size
BATCH = 32  # packets joined into one write
_TO_FRAME = {2: 1, 3: 2}


class Duplex(Protocol):
    """The client's end: api.hijack.Stream, or a WebSocket."""

    gone: asyncio.Event

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class Console:
    """One connection to an attach socket. `close` leaves the process as it is."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, path: Path, *, reads: bool) -> "Console":
        """Connect. Without `reads` conmon is told to send nothing, so that it never waits for us. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            # Through the folder's descriptor: the path itself may be longer than a socket address.
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            if not reads:
                connection.shutdown(socket.SHUT_RD)
        except OSError:
            connection.close()
            raise
        finally:
            os.close(folder)
        return cls(connection)

    async def read(self) -> list[tuple[int, bytes]]:
        """The next pieces of output, (1 or 2, bytes); [] at the end."""
        try:
            packet = await self._loop.sock_recv(self._socket, PACKET + 1)
        except ConnectionResetError:
            # Told once, when conmon closed before it read our input; its output still follows.
            packet = await self._loop.sock_recv(self._socket, PACKET + 1)
        if not packet:
            return []
        found = [packet]
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while len(found) < BATCH and (packet := self._socket.recv(PACKET + 1)):
                found.append(packet)
        return [(_TO_FRAME.get(packet[0], 1), packet[1:]) for packet in found]

    async def send(self, data: bytes) -> bool:
        """Give input, waiting until it is taken; False when the process takes no more."""
        try:
            for start in range(0, len(data), PACKET):
                await self._loop.sock_sendall(self._socket, data[start : start + PACKET])
        except OSError:
            return False
        return True

    def end_input(self) -> None:
        """No more input will come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


class DetachKeys:
    """Looks for the keys that end an attachment in what a person types. `text`: as Docker's, "ctrl-p,ctrl-q"."""

    def __init__(self, text: str) -> None:
        self._keys = parse_keys(text or "ctrl-p,ctrl-q")
        self._seen = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What goes on to the process, and whether the keys are complete; what follows them is dropped."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    return bytes(out), True
                continue
            out += self._keys[: self._seen]
            self._seen = 0
            if byte == self._keys[0]:
                self._seen = 1
                if len(self._keys) == 1:
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False


def parse_keys(text: str) -> bytes:
    """The bytes of "ctrl-p,ctrl-q" or "a,b". Raises InvalidArgument."""
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys.append(ord(key[5].upper()) - 64)
        else:
            raise InvalidArgument(f"Invalid detach keys ({text}) provided")
    return bytes(keys)


async def give_input(client: Duplex, console: Console, keys: DetachKeys | None) -> bool:
    """Carry input until the client ends it (passed on: half-close), or True when it typed the detach keys.

    Raises ConnectionResetError when the client has gone.
    """
    while data := await client.read():
        is_detached = False
        if keys is not None:
            data, is_detached = keys.feed(data)
        if data and not await console.send(data):
            await drop_input(client)
            return False
        if is_detached:
            return True
    console.end_input()
    return False


async def drop_input(client: Duplex) -> None:
    """Take what a client sends that nobody wants, until it ends or the client has gone (ConnectionResetError)."""
    while await client.read():
        pass


async def take_output(
    client: Duplex, console: Console, *, is_framed: bool, stdout: bool = True, stderr: bool = True
) -> None:
    """Carry output until the process's last, no faster than the client reads. Raises ConnectionResetError."""
    wanted = {1: stdout, 2: stderr}
    while packets := await console.read():
        pieces = [frame(stream, data) if is_framed else data for stream, data in packets if wanted[stream]]
        if pieces:
            await client.write(b"".join(pieces))


def resize(folder: Path, height: int, width: int) -> None:
    """Set a terminal's size through the fifo of the conmon whose files lie in `folder`. Raises Conflict."""
    tell(folder / "winsz", f"{height} {width}\n")


def reopen_log(folder: Path) -> None:
    """Tell conmon to open its log's path again. Raises Conflict."""
    tell(folder / "ctl", "2 0 0\n")


def tell(fifo: Path, order: str) -> None:
    """One order to conmon. Raises Conflict when no conmon reads there."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in (errno.ENXIO, errno.ENOENT):
            raise Conflict("the process has ended") from exc
        raise
    try:
        os.write(descriptor, order.encode())
    finally:
        os.close(descriptor)
