"""A container's log as a file: its bytes without frames, as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import StreamReader

from containers.logs import LogQuery, has_terminal
from containers.models import Container
from controlplane.lib.errors import GantryError
from controlplane.operations.sockets import Reading
from hosts.engine import demultiplex, engine_for, explain

CHUNK = 64 * 1024


async def text(container: Container, wanted: LogQuery, reading: Reading) -> AsyncIterator[bytes]:
    """The log's bytes without frames. Each piece is read when the one before it has been sent."""
    path = f"/containers/{container.engine_id}"
    sent = 0
    try:
        async with engine_for(container.host) as engine:
            inspection = await engine.get(f"{path}/json", timeout=10)
            async with engine.stream("GET", f"{path}/logs", **wanted.parameters()) as response:
                await reading.began(f"downloaded the log: {wanted}")
                async for data in _pieces(response.content, whole=has_terminal(inspection)):
                    sent += len(data)
                    yield data
    finally:
        await reading.ended(f"the download ended after {sent} bytes")


async def begun(content: AsyncIterator[bytes]) -> bytes:
    """The first bytes. The engine's refusal must be known before the headers are sent; an error later breaks the
    download off, which whoever reads it takes for a failed one."""
    try:
        return await anext(content, b"")
    except GantryError as exc:
        exc.message, exc.hint = explain(exc, "container.logs")
        raise


async def chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`first`, then what is left."""
    async with aclosing(rest):  # type: ignore[type-var]
        yield first
        async for data in rest:
            yield data


async def _pieces(content: StreamReader, *, whole: bool) -> AsyncIterator[bytes]:
    if whole:
        while data := await content.read(CHUNK):
            yield data
    else:
        async for _, data in demultiplex(content):
            yield data
