"""Pings on a control connection, and the judgement that its peer is dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp
from aiohttp import web

PING_EVERY = 5.0  # seconds
DEAD_AFTER = 11.0  # seconds without a word
TICK = 1.0  # seconds
STALLED = 4.0  # seconds between two ticks that say we ourselves were stopped


class Heart:
    """Beats in a task of its own until `stop`; cuts the connection when the peer fell silent."""

    def __init__(self, ws: web.WebSocketResponse, cut: Callable[[], None]) -> None:
        self.ws, self.cut = ws, cut
        self.is_dead = False
        self.last_heard = asyncio.get_running_loop().time()
        self.task = asyncio.create_task(self._run())

    def heard(self) -> None:
        """Anything at all came from the peer."""
        self.last_heard = asyncio.get_running_loop().time()

    def stop(self) -> None:
        self.task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pinged = ticked = loop.time()
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            if now - ticked > STALLED:
                # This process was stopped, not the peers: without this every host would be lost at once.
                self.last_heard = now
            ticked = now
            if now - self.last_heard > DEAD_AFTER:
                self.is_dead = True
                self.cut()
                return
            if now - pinged >= PING_EVERY:
                pinged = now
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    await self.ws.ping()


def beat_until_dead(ws: web.WebSocketResponse, cut: Callable[[], None]) -> Heart:
    """Start a heart for one connection."""
    return Heart(ws, cut)
