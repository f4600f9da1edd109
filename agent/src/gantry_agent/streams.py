"""Stream connections: dialled out idle, told by the gateway what they are for, then pumped."""

import asyncio
import base64
import contextlib
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import aiohttp

from . import engine_client
from .errors import EngineUnreachable
from .pipe import RESET_PATIENCE, Pipe

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0  # seconds
MAX_STREAMS = 4096  # open or idle at once on this host

Accept = Callable[[socket.socket], Any]


class Refused(Exception):
    """The gateway closed the connection during the handshake: `code` says why (docs/tunnel.md)."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{reason or 'refused'} ({code})")
        self.code = code


async def introduce(
    ws: aiohttp.ClientWebSocketResponse, purpose: str, sign: Callable[[str, str, bytes], dict[str, Any]]
) -> None:
    """Answer the gateway's challenge. Raises Refused, ValueError (not our protocol), TimeoutError."""
    challenge = await _receive_json(ws)
    if challenge.get("type") != "challenge":
        raise ValueError(f"expected a challenge, got {challenge.get('type')!r}")
    nonce = base64.b64decode(challenge["nonce"], validate=True)
    await ws.send_str(json.dumps({"type": "hello", **sign(purpose, str(challenge["gateway"]), nonce)}))


async def _receive_json(ws: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next text frame, as an object; pings are answered on the way."""
    while True:
        message = await ws.receive(HANDSHAKE_TIMEOUT)
        if message.type is aiohttp.WSMsgType.TEXT:
            found = json.loads(message.data)
            if not isinstance(found, dict):
                raise ValueError("a frame that is not an object")
            return found
        if message.type is aiohttp.WSMsgType.PING:
            await ws.pong(message.data)
        elif message.type is not aiohttp.WSMsgType.PONG:
            raise Refused(ws.close_code, str(message.extra or ""))


class Streams:
    """All stream connections to one gateway. `start` adds idle ones; `abort` cuts them all."""

    def __init__(self, engine: engine_client.Engine, accept: Accept) -> None:
        self.engine = engine
        self.accept = accept
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, count: int, dial: Callable[[], Any]) -> None:
        """Open `count` more streams, each in its own task, within MAX_STREAMS."""
        for _ in range(min(count, MAX_STREAMS - len(self.tasks))):
            task = asyncio.create_task(self._run(dial))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def abort(self) -> None:
        """Cut every stream: the gateway is gone. Their tasks end by themselves."""
        for task in list(self.tasks):
            task.cancel()

    async def _run(self, dial: Callable[[], Any]) -> None:
        """One stream's life. The gateway asks for another when it misses one, so failures are only noted."""
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                ws = await dial()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, Refused) as exc:
            log.info("a stream to the gateway did not open: %s", exc or type(exc).__name__)
            return
        try:
            await self._serve(ws)
        except (aiohttp.ClientError, OSError, ValueError, KeyError, Refused) as exc:
            log.debug("stream ended: %s", exc)
        finally:
            with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(RESET_PATIENCE):
                    await ws.close()

    async def _serve(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Wait for the gateway's word, connect to what it names, then carry bytes."""
        target = await self._awaited_target(ws)
        try:
            reader, writer = await self._connect(target)
        except EngineUnreachable as exc:
            await ws.send_str(json.dumps({"type": "refused", "reason": exc.message}))
            await ws.close()
            return
        await ws.send_str(json.dumps({"type": "opened"}))
        await Pipe(ws, reader, writer).run()

    async def _awaited_target(self, ws: aiohttp.ClientWebSocketResponse) -> str:
        """Idle until the first text frame; its target."""
        while True:
            message = await ws.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                order = json.loads(message.data)
                if order["type"] != "open":
                    raise ValueError(f"expected open, got {order['type']!r}")
                return str(order["target"])
            if message.type is aiohttp.WSMsgType.PING:
                await ws.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                raise Refused(ws.close_code, str(message.extra or ""))

    async def _connect(self, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A local connection to the engine, or to the agent's own API. Raises EngineUnreachable."""
        if target == "engine":
            return await engine_client.connect(self.engine.required())
        if target != "agent":
            raise EngineUnreachable(f"This agent does not know the target “{target}”.")
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        await self.accept(theirs)
        return await asyncio.open_unix_connection(sock=ours, limit=256 * 1024)
