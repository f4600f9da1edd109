"""One host as the gateway holds it: its control connection, idle and busy streams, local sockets, waiters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

import aiohttp
from aiohttp import web

from hosts.gateway.messages import parse
from hosts.gateway.pipe import Pipe
from hosts.gateway.sockets import LocalSockets, refuse

log = logging.getLogger(__name__)

IDLE = 4  # streams kept ready for the next clients
IDLE_PING = 20.0  # seconds of silence until an idle stream is pinged
IDLE_DEAD = 45.0  # seconds of silence after which it is taken for dead
CLIENT_WAIT = 10.0  # seconds a client waits for a stream
OPEN_WAIT = 6.0  # seconds the agent has to connect its end
DIAL_TRUST = 5.0  # seconds an asked-for stream is expected before it is asked for again
GRACE = 3.0  # seconds a broken control connection may take to return before the host counts as gone
REPLACED = 4409  # close code: the host has connected anew


class StreamLost(Exception):
    """A stream ended before it was opened: another one will do."""


class StreamRefused(Exception):
    """The agent cannot reach what was asked for; its reason is the message."""


class Stream:
    """One stream connection of the agent. Its WebSocket is read by the server's handler (`serve`) alone."""

    def __init__(self, ws: web.WebSocketResponse, cut: Callable[[], None]) -> None:
        self.ws = ws
        self.cut = cut  # aborts the TCP connection
        self.opened: asyncio.Future[None] | None = None
        self.client: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.finished = asyncio.Event()
        self.is_open = True
        self.last_heard = self.pinged = asyncio.get_running_loop().time()

    async def open(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: float) -> None:
        """Have the agent connect `target`. Raises StreamLost, StreamRefused."""
        self.opened = asyncio.get_running_loop().create_future()
        self.client = (reader, writer)
        try:
            async with asyncio.timeout(wait):
                await self.ws.send_str(json.dumps({"type": "open", "target": target}))
                await self.opened
        except StreamRefused:
            raise
        except (TimeoutError, OSError, aiohttp.ClientError) as exc:
            self._abandon()
            raise StreamLost(str(exc) or "no answer to open") from exc
        except asyncio.CancelledError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """The client waits no longer: whatever the agent answers now must not reach it."""
        self.client = None
        if self.opened is not None:
            self.opened.cancel()
        self.cut()

    async def serve(self) -> None:
        """Read the WebSocket while idle, then carry the client's bytes; returns when the stream is over."""
        try:
            if await self._await_opened() and self.client is not None:
                await Pipe(self.ws, *self.client).run()
        finally:
            self.is_open = False
            self.finished.set()
            if self.opened is not None and not self.opened.done():
                self.opened.set_exception(StreamLost("closed"))

    async def _await_opened(self) -> bool:
        """True once the agent has opened the target; False when the stream ended before."""
        while True:
            message = await self.ws.receive()
            self.last_heard = asyncio.get_running_loop().time()
            if message.type is aiohttp.WSMsgType.TEXT:
                return self._on_answer(message.data)
            if message.type is aiohttp.WSMsgType.PING:
                await self.ws.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                return False

    def _on_answer(self, text: str) -> bool:
        if self.opened is None or self.opened.done():
            return False
        try:
            answer = parse(text)
        except ValueError:
            return False
        if answer["type"] == "opened":
            self.opened.set_result(None)
            return True
        if answer["type"] == "refused":
            self.opened.set_exception(StreamRefused(str(answer.get("reason", ""))[:500]))
        return False


class HostLink:
    """A host's place in the gateway, from its first connection until it is gone for good."""

    def __init__(self, host: str, folder: Path) -> None:
        self.host = host
        self.key = ""
        self.agent_version = ""
        self.control: web.WebSocketResponse | None = None
        self.cut_control: Callable[[], None] = lambda: None
        self.idle: deque[Stream] = deque()
        self.streams: set[Stream] = set()
        self.waiters: deque[asyncio.Future[Stream]] = deque()
        self.asked: deque[float] = deque()  # when streams were asked for that have not come yet
        self.sockets = LocalSockets(folder, host, self.serve_client)
        self.gone_reason = ""
        self._dialling: set[asyncio.Task[None]] = set()

    # --- control connection ---------------------------------------------------------------------

    async def adopt_control(
        self, ws: web.WebSocketResponse, cut: Callable[[], None], key: str, agent_version: str
    ) -> None:
        """A newly authenticated control connection takes over; an older one is closed. Raises OSError."""
        older, cut_older = self.control, self.cut_control
        self.control, self.cut_control = ws, cut
        if older is not None or key != self.key:
            self.drop_idle()  # they belong to another agent process, or were admitted with an older key
        self.key, self.agent_version, self.gone_reason = key, agent_version, ""
        self.asked.clear()
        if older is not None:
            closing = asyncio.create_task(_close(older, cut_older, REPLACED, "connected anew"))
            self._dialling.add(closing)
            closing.add_done_callback(self._dialling.discard)
        if not self.sockets.is_open:
            await self.sockets.open()
        await self.send_control(type="admitted")
        self.top_up()

    async def send_control(self, **order: object) -> None:
        """Send one order; a connection that is going down shows in its own reader."""
        if self.control is not None:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await self.control.send_str(json.dumps(order))

    def take_down(self, reason: str) -> None:
        """The host is gone: no sockets, no streams, and an answer for those who wait."""
        self.gone_reason = reason
        self.control = None
        self.sockets.close()
        for stream in list(self.streams):
            stream.cut()
        self.idle.clear()
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(StreamRefused(reason))

    def drop_idle(self) -> None:
        """Close the idle streams."""
        while self.idle:
            self.idle.popleft().cut()

    async def check_idle(self) -> None:
        """Ping idle streams, which keeps proxies from closing them, and cut those that fell silent."""
        now = asyncio.get_running_loop().time()
        for stream in list(self.idle):
            if now - stream.last_heard > IDLE_DEAD:
                stream.cut()
            elif now - max(stream.last_heard, stream.pinged) > IDLE_PING:
                stream.pinged = now
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    await stream.ws.ping()

    # --- streams --------------------------------------------------------------------------------

    def offer(self, stream: Stream) -> None:
        """An admitted stream: for the client that waits longest, else kept idle."""
        self.streams.add(stream)
        if self.asked:
            self.asked.popleft()
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(stream)
                return
        self.idle.append(stream)

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        self.streams.discard(stream)
        with contextlib.suppress(ValueError):
            self.idle.remove(stream)
        self.top_up()

    def top_up(self) -> None:
        """Ask the agent for as many streams as are missing, those on their way counted."""
        if self.control is None:
            return
        now = asyncio.get_running_loop().time()
        while self.asked and now - self.asked[0] > DIAL_TRUST:
            self.asked.popleft()
        missing = IDLE + len(self.waiters) - len(self.idle) - len(self.asked)
        if missing <= 0:
            return
        self.asked.extend([now] * missing)
        task = asyncio.create_task(self.send_control(type="dial", count=missing))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def take(self) -> Stream:
        """An idle stream, or the next that comes. Raises StreamRefused when the host is gone."""
        while self.idle:
            stream = self.idle.popleft()
            if stream.is_open:
                self.top_up()
                return stream
        if self.gone_reason:
            raise StreamRefused(self.gone_reason)
        waiter: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        self.top_up()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.idle.append(waiter.result())
            raise
        finally:
            with contextlib.suppress(ValueError):
                self.waiters.remove(waiter)

    # --- clients --------------------------------------------------------------------------------

    async def serve_client(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client of a local socket, from accept to close."""
        try:
            async with asyncio.timeout(CLIENT_WAIT):
                stream = await self._opened_stream(target, reader, writer)
        except TimeoutError:
            await refuse(reader, writer, "The host did not answer in time.")
        except StreamRefused as exc:
            await refuse(reader, writer, str(exc) or "The host's agent refused the connection.")
        else:
            await stream.finished.wait()

    async def _opened_stream(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        while True:
            stream = await self.take()
            try:
                await stream.open(target, reader, writer, OPEN_WAIT)
            except StreamLost:
                continue
            return stream


async def _close(ws: web.WebSocketResponse, cut: Callable[[], None], code: int, reason: str) -> None:
    """Close a connection politely within two seconds, else cut it."""
    with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(2.0):
            await ws.close(code=code, message=reason.encode())
    cut()
