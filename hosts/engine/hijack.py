"""Attach and exec: an HTTP request whose connection then carries raw bytes both ways.

Docker answers ``101 UPGRADED`` to ``Upgrade: tcp`` (and 200 without it), Podman 101 or 200; whatever
follows the headers is the container's. Each direction ends by itself: `write_eof` passes the end of
input on, and reading goes on until the container has said everything. Source: "Hijacking" under
ContainerAttach in the Engine API.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
from collections.abc import Mapping
from typing import Any, Self

from hosts.engine.errors import (
    EngineProtocolError,
    EngineTimeout,
    EngineUnreachable,
    engine_error,
    error_of_body,
)

_BUFFER = 64 * 1024
_LARGEST_ERROR = 64 * 1024


class HijackedStream:
    """Raw bytes both ways, with backpressure: `write` waits until the engine has taken enough."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content_type: str = "") -> None:
        self._reader = reader
        self._writer = writer
        self.content_type = content_type
        """``application/vnd.docker.multiplexed-stream`` or ``….raw-stream`` (all that older engines say)."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self, n: int = _BUFFER, /) -> bytes:
        """At most ``n`` bytes as soon as there are any; empty when the container's side has ended."""
        try:
            return await self._reader.read(n if n > 0 else _BUFFER)
        except OSError as error:
            raise EngineUnreachable("The connection to the engine broke.") from error

    async def write(self, data: bytes) -> None:
        """Send bytes to the container's input; EngineUnreachable when the other side is gone."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise EngineUnreachable("The connection to the engine broke.") from error

    async def write_eof(self) -> None:
        """End the input; output can still be read."""
        try:
            await self._writer.drain()
            self._writer.write_eof()
        except OSError as error:
            raise EngineUnreachable("The connection to the engine broke.") from error

    async def close(self) -> None:
        """Close both directions at once; what is not sent yet is dropped."""
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # It broke before we closed it, which comes to the same.


async def open_hijacked(
    socket_path: str, method: str, target: str, body: Mapping[str, Any] | None, timeout: float | None
) -> HijackedStream:
    """Connect, ask for the upgrade, and hand over the connection; EngineError when it is refused."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(socket_path, limit=_BUFFER)
            try:
                writer.write(_request(method, target, body))
                await writer.drain()
                content_type = await _accepted(reader)
            except BaseException:
                writer.transport.abort()
                raise
    except TimeoutError as error:
        raise EngineTimeout(f"The engine did not answer within {timeout:g} s.") from error
    except OSError as error:
        raise EngineUnreachable(
            f"Nobody answers on the host’s socket: {error.strerror or error}.",
            "The host is not connected, or its engine is stopped.",
        ) from error
    return HijackedStream(reader, writer, content_type)


def _request(method: str, target: str, body: Mapping[str, Any] | None) -> bytes:
    content = json.dumps(body).encode() if body is not None else b""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: engine",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + content


async def _accepted(reader: asyncio.StreamReader) -> str:
    """The content type of an answer that lets us through, else an exception."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise EngineUnreachable("The engine closed the connection without an answer.") from error
    except asyncio.LimitOverrunError as error:
        raise EngineProtocolError(f"Expected headers of at most {_BUFFER} bytes, found more.") from error
    first, _, rest = head.partition(b"\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise EngineProtocolError(f"Expected HTTP from the engine, found {first[:80]!r}.")
    status = int(words[1])
    try:
        headers = http.client.parse_headers(io.BytesIO(rest))
    except http.client.HTTPException as error:
        raise EngineProtocolError(f"Expected HTTP headers from the engine: {error}.") from error
    if status in (101, 200):
        return headers.get_content_type() if "Content-Type" in headers else ""
    body = await _error_body(reader, headers.get("Content-Length", ""), headers.get("Transfer-Encoding", ""))
    if status < 300:
        raise engine_error(status, f"Expected an upgraded connection, found status {status}.")
    raise error_of_body(status, body)


async def _error_body(reader: asyncio.StreamReader, length: str, encoding: str) -> bytes:
    """The body of a refusal; the headers say where it ends, for the connection stays open."""
    try:
        if length.isdigit():
            return await reader.readexactly(min(int(length), _LARGEST_ERROR))
        if encoding.lower() == "chunked":
            size = int((await reader.readline()).strip() or b"0", 16)
            return await reader.readexactly(min(size, _LARGEST_ERROR))
        return await reader.read(_LARGEST_ERROR)
    except asyncio.IncompleteReadError as error:
        return error.partial
    except ValueError as error:
        raise EngineProtocolError("Expected a chunk’s length in the engine’s answer.") from error
