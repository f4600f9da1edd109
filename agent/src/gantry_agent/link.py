"""The control connection to one gateway: dial, introduce, obey, notice its death, dial again."""

import asyncio
import base64
import contextlib
import json
import logging
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import __version__, engine_client, keys, transport
from .errors import NotEnrolled
from .state import Enrolment, State
from .streams import HANDSHAKE_TIMEOUT, Accept, Refused, Streams, introduce

log = logging.getLogger(__name__)

PING_EVERY = 5.0  # seconds
DEAD_AFTER = 11.0  # seconds without a word from the gateway
KEEP_STREAMS = 15.0  # seconds streams outlive a control connection that broke without a time-out
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts to connect
REFUSED_PAUSE = 30.0  # seconds; a refusal rarely heals by itself
# Seconds a close waits for the gateway's: a stream's client may read slowly (see pipe.py).
CLOSE_WAIT = {"control": 3.0, "stream": 24 * 3600.0}
BAD_KEY, REMOVED, REPLACED = 4401, 4403, 4409  # close codes of the gateway

Failure = (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, Refused)


@dataclass
class Standing:
    """How the link is doing, for `gantry-agent status`."""

    gateway: str
    connected: bool = False
    problem: str = ""
    refusals: int = field(default=0)


class Backoff:
    """Growing, jittered pauses (half to all of 0.2 s … 10 s): a fleet does not return in one instant."""

    def __init__(self) -> None:
        self.attempt = 0

    def reset(self) -> None:
        self.attempt = 0

    def next(self, at_least: float = 0.0) -> float:
        longest = max(at_least, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.attempt))
        self.attempt = min(self.attempt + 1, 16)
        return longest * random.uniform(0.5, 1.0)


class Link:
    """One gateway's link. `run` never returns by itself."""

    def __init__(
        self, state: State, enrolment: Enrolment, gateway: str, engine: engine_client.Engine, accept: Accept
    ) -> None:
        self.state, self.enrolment, self.gateway = state, enrolment, gateway.rstrip("/")
        self.engine = engine
        self.streams = Streams(engine, accept)
        self.standing = Standing(self.gateway)
        self.key: Ed25519PrivateKey | None = None
        self.on_change: Any = lambda: None
        self._last_heard = 0.0

    async def run(self) -> None:
        """Keep connected until cancelled."""
        backoff = Backoff()
        cut: asyncio.TimerHandle | None = None
        try:
            async with transport.session(self.gateway) as client:
                while True:
                    started = asyncio.get_running_loop().time()
                    at_least = await self._attempt(client, cut)
                    if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                        backoff.reset()
                    pause = backoff.next(at_least)
                    if cut is not None:
                        cut.cancel()
                    cut = asyncio.get_running_loop().call_later(KEEP_STREAMS, self.streams.abort)
                    log.info("%s; next attempt in %.1f s", self.standing.problem, pause)
                    await asyncio.sleep(pause)
        finally:
            self.streams.abort()

    async def _attempt(self, client: aiohttp.ClientSession, cut: asyncio.TimerHandle | None) -> float:
        """One connection's life, with each key we may be known by. Returns the shortest pause to make."""
        pause = 0.0
        try:
            for path, key in list(self.state.candidate_keys()):
                try:
                    await self._connected(client, path == self.state.next_key_file, key, cut)
                    self._note(False, "The gateway closed the connection")
                except Refused as exc:
                    self._note(False, f"The gateway refused this host: {exc}")
                    pause = REFUSED_PAUSE
                    if exc.code == BAD_KEY:
                        continue
                break
        except NotEnrolled as exc:
            self._note(False, exc.message)
            pause = REFUSED_PAUSE
        except Failure as exc:
            self._note(False, f"The gateway cannot be reached: {exc or type(exc).__name__}")
        return pause

    async def _connected(
        self,
        client: aiohttp.ClientSession,
        is_next_key: bool,
        key: Ed25519PrivateKey,
        cut: asyncio.TimerHandle | None,
    ) -> None:
        """Dial, be admitted, follow orders until the connection ends. Raises Refused or a Failure."""
        self.key = key
        async with asyncio.timeout(HANDSHAKE_TIMEOUT * 2):
            ws = await self._dial(client, "control")
        try:
            first = await ws.receive(HANDSHAKE_TIMEOUT)
            if first.type is not aiohttp.WSMsgType.TEXT:
                raise Refused(ws.close_code, str(first.extra or ""))
            if is_next_key:
                self.state.adopt_next_key()
            if cut is not None:
                cut.cancel()
            self._note(True, "")
            await self._follow(client, ws, first)
        finally:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await ws.close()

    async def _dial(self, client: aiohttp.ClientSession, purpose: str) -> aiohttp.ClientWebSocketResponse:
        """Open one WebSocket and answer its challenge."""
        url = f"{self.gateway}/agent/{purpose}"
        ws = await transport.open_socket(client, url, self.enrolment.fingerprint, CLOSE_WAIT[purpose])
        try:
            await introduce(ws, purpose, self._hello)
        except BaseException:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await ws.close()
            raise
        return ws

    def _hello(self, purpose: str, gateway: str, nonce: bytes) -> dict[str, Any]:
        """The answer to a challenge, as the gateway expects it."""
        if self.key is None:
            raise ValueError("no key")
        host = self.enrolment.host
        answer: dict[str, Any] = {
            "host": host,
            "signature": keys.sign(self.key, purpose, gateway, nonce, host),
            "agent_version": __version__,
        }
        if purpose == "control":
            answer["engine"] = self.engine.find() is not None
        return answer

    async def _follow(
        self, client: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse, first: aiohttp.WSMessage
    ) -> None:
        """Obey the gateway until the connection ends; a heart-beat beside it decides when it is dead."""
        self._last_heard = asyncio.get_running_loop().time()
        heart = asyncio.create_task(self._heartbeat(ws))
        try:
            await self._obey(client, ws, json.loads(first.data))
            while True:
                message = await ws.receive()
                self._last_heard = asyncio.get_running_loop().time()
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._obey(client, ws, json.loads(message.data))
                elif message.type is aiohttp.WSMsgType.PING:
                    await ws.pong(message.data)
                elif message.type is aiohttp.WSMsgType.CLOSE and message.data in (BAD_KEY, REMOVED, REPLACED):
                    raise Refused(message.data, str(message.extra or ""))
                elif message.type is not aiohttp.WSMsgType.PONG:
                    return
        finally:
            heart.cancel()

    async def _heartbeat(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Ping, and cut everything when nothing was heard for DEAD_AFTER seconds."""
        loop = asyncio.get_running_loop()
        pinged = ticked = loop.time()
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            if now - ticked > 4.0:
                self._last_heard = now  # this process itself was stopped: ask again before judging
            ticked = now
            if now - self._last_heard > DEAD_AFTER:
                log.warning("nothing heard from %s for %.0f s: cutting", self.gateway, DEAD_AFTER)
                self.streams.abort()
                await ws.close(code=aiohttp.WSCloseCode.GOING_AWAY)
                return
            if now - pinged >= PING_EVERY:
                pinged = now
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    await ws.ping()

    async def _obey(
        self, client: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse, order: dict[str, Any]
    ) -> None:
        """One order of the gateway; unknown ones are passed over, so that a newer gateway can speak to us."""
        kind = order.get("type")
        if kind == "dial":
            self.streams.start(int(order["count"]), lambda: self._dial(client, "stream"))
        elif kind == "rotate":
            await self._offer_next_key(ws, order)
        elif kind == "rotated":
            self._adopt(order)

    async def _offer_next_key(self, ws: aiohttp.ClientWebSocketResponse, order: dict[str, Any]) -> None:
        """Answer {"type": "rotate", "nonce", "gateway"}: the next public key, signed by the present one."""
        if self.key is None:
            raise ValueError("no key")
        nonce = base64.b64decode(order["nonce"], validate=True)
        public = keys.public_text(self.state.next_key())
        signature = keys.sign(self.key, "rotate", str(order["gateway"]), nonce + public.encode(), self.enrolment.host)
        answer = {"type": "next-key", "public_key": public, "signature": signature}
        await ws.send_str(json.dumps(answer))

    def _adopt(self, order: dict[str, Any]) -> None:
        """The gateway has stored the next key: use it from now on."""
        if not self.state.next_key_file.exists():
            return
        key = keys.load(self.state.next_key_file)
        if keys.public_text(key) == order.get("public_key"):
            self.state.adopt_next_key()
            self.key = key
            log.info("the host's key was rotated")

    def _note(self, connected: bool, problem: str) -> None:
        if connected:
            log.info("connected to %s as %s", self.gateway, self.enrolment.name)
        self.standing.connected, self.standing.problem = connected, problem
        self.on_change()
