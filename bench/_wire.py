"""A bare WebSocket client on a blocking socket: nothing of it may count into what is measured."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import struct
from typing import Any
from urllib.parse import urlsplit


class Wire:
    """One connection; a context manager. Frames up to 64 KiB out, any size in, no fragments."""

    def __init__(self, url: str, cookie: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Origin: http://{parts.netloc}\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.socket.recv(65536)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode(errors="replace"))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, opcode: int = 2) -> None:
        """One masked frame (RFC 6455, 5.2); the mask is zero, which is valid and costs nothing."""
        head = bytes((0x80 | opcode,))
        head += bytes((0x80 | len(data),)) if len(data) < 126 else struct.pack("!BH", 0xFE, len(data))
        self.socket.sendall(head + b"\0\0\0\0" + data)

    def say(self, **fields: Any) -> None:
        self.send(json.dumps(fields).encode(), opcode=1)

    def receive(self) -> tuple[int, bytes]:
        """The next text (1) or binary (2) frame: opcode and content."""
        while True:
            opcode, content = self._frame()
            if opcode in (1, 2):
                return opcode, content

    def attend(self) -> None:
        """Answer pings that came while nobody read; whatever else came is dropped."""
        while self.buffer or select.select([self.socket], [], [], 0)[0]:
            self._frame()

    def _frame(self) -> tuple[int, bytes]:
        """One frame of any kind. Raises ConnectionError at the closing one."""
        opcode, length = self._exactly(2)
        opcode, length = opcode & 0x0F, length & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        content = self._exactly(length)
        if opcode == 9:
            self.send(content, opcode=10)
        elif opcode == 8:
            raise ConnectionError(f"closed: {content!r}")
        return opcode, content

    def bytes_until(self, wanted: bytes) -> bytes:
        """Binary frames until they hold `wanted`."""
        seen = b""
        while wanted not in seen:
            opcode, content = self.receive()
            if opcode == 2:
                seen += content
        return seen

    def told(self, kind: str) -> dict[str, Any]:
        """Frames until a JSON one of that type."""
        while True:
            opcode, content = self.receive()
            if opcode == 1 and (message := json.loads(content))["type"] == kind:
                return dict(message)

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed")
            self.buffer += data
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken
