"""The gateway's server: admits agents, routes their connections to host links, keeps the directory told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from hosts.gateway import keys, sockets
from hosts.gateway.directory import Directory
from hosts.gateway.heartbeat import beat_until_dead
from hosts.gateway.herald import Herald
from hosts.gateway.link import GRACE, HostLink, Stream, StreamLost
from hosts.gateway.messages import parse
from hosts.peers import is_this_machine

log = logging.getLogger(__name__)

SUBPROTOCOL = "gantry.v1"
MAX_MESSAGE = 1024 * 1024  # bytes; a larger frame closes 1009
HELLO_WAIT = 5.0  # seconds for the answer to a challenge
KEY_WAIT = 10.0  # seconds for the directory to name a host's key
MAX_STRANGERS = 512  # connections that have not introduced themselves yet
CLOSE_WAIT = 24 * 3600.0  # seconds a stream's close waits for the agent's: an engine may read slowly (pipe.py)
MAX_STREAMS = 4096  # per host, idle and busy
RECHECK_EVERY = 2.0  # seconds between looks whether connected hosts still have their key
BAD_KEY, REMOVED = 4401, 4403  # close codes
NO_TLS = (
    "This connection is not encrypted, and it does not come from this machine. "
    "Start Gantry with --tls, or put a proxy with TLS in front of it."
)

KERNEL_BUFFER = 512 * 1024  # bytes each way; Linux doubles it for its own accounts


class NotAdmitted(Exception):
    """The peer did not prove to be a host we know; the message goes to our log, not to the peer."""


class Gateway:
    """Use: `await gateway.start(host, port, tls)`, then `await gateway.run()` until cancelled."""

    def __init__(self, directory: Directory, folder: Path) -> None:
        self.directory = directory
        self.folder = folder
        self.id = secrets.token_hex(8)
        self.links: dict[str, HostLink] = {}
        self.herald = Herald(directory)
        self.strangers = 0
        self.rotations: dict[str, bytes] = {}  # nonce sent with the last request for a new key
        self.storing: set[str] = set()  # hosts whose new key is on its way into the directory
        app = web.Application()
        app.add_routes(
            [
                web.get("/agent/control", self.control),
                web.get("/agent/stream", self.stream),
            ]
        )
        self.runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)

    # --- life -----------------------------------------------------------------------------------

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; the port listened on. Raises OSError."""
        sockets.sweep(self.folder)
        await self.runner.setup()
        site = web.TCPSite(self.runner, host, port, ssl_context=tls, backlog=1024)
        await site.start()
        return int(self.runner.addresses[0][1])

    async def run(self) -> None:
        """Housekeeping until cancelled; then every host is taken down."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.herald.run(lambda: self.connected_hosts))
                group.create_task(self._recheck())
                group.create_task(self._keep_stocked())
        finally:
            for link in list(self.links.values()):
                link.take_down("The gateway is stopping.")
                link.cut_control()
            await asyncio.sleep(0)  # lets their handlers see it before the runner cancels them
            await self.runner.cleanup()

    @property
    def connected_hosts(self) -> list[str]:
        return [host for host, link in self.links.items() if link.control is not None]

    async def _keep_stocked(self) -> None:
        """Streams that were asked for and never came are asked for again; dead idle ones are dropped."""
        while True:
            await asyncio.sleep(1.0)
            for link in list(self.links.values()):
                await link.check_idle()
                link.top_up()

    async def _recheck(self) -> None:
        """Drop hosts that were removed, or whose key was changed elsewhere, within seconds."""
        while True:
            await asyncio.sleep(RECHECK_EVERY)
            present = {host: self.links[host].key for host in self.connected_hosts}
            try:
                known = await self.directory.public_keys(present) if present else {}
                to_rotate = await self.directory.wanted_rotations(present) if present else []
            except OSError as exc:
                log.warning("hosts not rechecked: %s", exc)
                continue
            for host, key in present.items():
                link = self.links.get(host)
                # A key that we replaced ourselves while the question was on its way is no change.
                if link and link.key == key != known.get(host, "") and host not in self.storing:
                    await self.drop(host, "key changed" if host in known else "removed")
            for host in to_rotate:
                await self.rotate(host)

    async def drop(self, host: str, reason: str) -> None:
        """Close a host's control connection and everything that hangs on it."""
        link = self.links.get(host)
        if link is None or link.control is None:
            return
        log.info("host %s: %s", host, reason)
        control, cut = link.control, link.cut_control
        self._gone(link, f"The host was disconnected: {reason}.")
        with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(2.0):
                await control.close(code=REMOVED, message=reason.encode())
        cut()

    async def rotate(self, host: str) -> None:
        """Ask a host for a new key pair; the answer arrives on its control connection."""
        link = self.links.get(host)
        if link is not None and link.control is not None and host not in self.storing:
            self.rotations[host] = keys.new_nonce()
            nonce = base64.b64encode(self.rotations[host]).decode()
            await link.send_control(type="rotate", nonce=nonce, gateway=self.id)

    # --- connections ----------------------------------------------------------------------------

    async def control(self, request: web.Request) -> web.StreamResponse:
        """A control connection, from handshake to end."""
        if refusal := self._refusal(request):
            return refusal
        ws = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), compress=False, autoping=False, max_msg_size=MAX_MESSAGE, timeout=3.0
        )
        await ws.prepare(request)
        cut = prepare_transport(request)
        try:
            hello = await self._admit(ws, "control")
        except NotAdmitted as exc:
            return await self._turn_away(request, ws, exc)
        link = self.links.setdefault(hello["host"], HostLink(hello["host"], self.folder))
        try:
            await link.adopt_control(ws, cut, hello["key"], hello["agent_version"])
        except OSError as exc:
            log.error("host %s: its sockets cannot be made: %s", link.host, exc)
            self._gone(link, f"The gateway cannot make its sockets: {exc}")
            await ws.close(code=aiohttp.WSCloseCode.TRY_AGAIN_LATER)
            return ws
        log.info("host %s connected from %s, agent %s", link.host, request.remote, link.agent_version)
        self.herald.connected(link.host, link.agent_version)
        timed_out = await self._serve_control(link, ws, cut)
        await self._control_ended(link, ws, timed_out)
        return ws

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """A stream connection, from handshake to end."""
        if refusal := self._refusal(request):
            return refusal
        ws = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), compress=False, autoping=False, max_msg_size=MAX_MESSAGE, timeout=CLOSE_WAIT
        )
        await ws.prepare(request)
        cut = prepare_transport(request)
        try:
            hello = await self._admit(ws, "stream")
        except NotAdmitted as exc:
            return await self._turn_away(request, ws, exc)
        link = self.links[hello["host"]]
        stream = Stream(ws, cut)
        link.offer(stream)
        try:
            await stream.serve()
        except (OSError, aiohttp.ClientError, StreamLost) as exc:
            log.debug("host %s: a stream ended: %s", link.host, exc)
        finally:
            link.forget(stream)
            cut()
        return ws

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Browsers are refused, plain HTTP from another machine is, and so is a crowd of strangers."""
        if "Origin" in request.headers:
            # Every browser sends it and no agent does: no page may use its reader to knock here.
            return web.json_response({"message": "This address is for Gantry's agents."}, status=403)
        own = request.transport.get_extra_info("sockname") if request.transport else None
        if not request.secure and not is_this_machine(request.remote, own[0] if own else None):
            return web.json_response({"message": NO_TLS}, status=403)
        if self.strangers >= MAX_STRANGERS:
            return web.json_response({"message": "Too many connections at once."}, status=503)
        return None

    async def _turn_away(
        self, request: web.Request, ws: web.WebSocketResponse, reason: NotAdmitted
    ) -> web.WebSocketResponse:
        log.warning("refused %s from %s: %s", request.path, request.remote, reason)
        await ws.close(code=BAD_KEY, message=b"not admitted")
        return ws

    # --- admission ------------------------------------------------------------------------------

    async def _admit(self, ws: web.WebSocketResponse, purpose: str) -> dict[str, str]:
        """Challenge the peer; its host, key and version. Raises NotAdmitted."""
        self.strangers += 1
        try:
            nonce = keys.new_nonce()
            challenge = {"type": "challenge", "nonce": base64.b64encode(nonce).decode(), "gateway": self.id}
            await ws.send_str(json.dumps(challenge))
            hello = parse_hello(await ws.receive(HELLO_WAIT))
            key = await self._key_of(hello["host"], purpose)
        except (TimeoutError, OSError, aiohttp.ClientError) as exc:
            raise NotAdmitted(f"no introduction: {exc or type(exc).__name__}") from exc
        finally:
            self.strangers -= 1
        signature = hello.pop("signature")
        if not keys.is_signed_by(key, signature, purpose=purpose, gateway=self.id, nonce=nonce, host=hello["host"]):
            raise NotAdmitted(f"host {hello['host']!r} is unknown, or this is not its key")
        return {**hello, "key": key}

    async def _key_of(self, host: str, purpose: str) -> str:
        """The key a host must prove. Streams go by the key of the host's own control connection, so that
        a slow database holds up no stream."""
        if purpose == "control":
            async with asyncio.timeout(KEY_WAIT):
                return await self.directory.public_key(host)
        link = self.links.get(host)
        if link is None or link.control is None or len(link.streams) >= MAX_STREAMS:
            return ""
        return link.key

    # --- a control connection's life ------------------------------------------------------------

    async def _serve_control(self, link: HostLink, ws: web.WebSocketResponse, cut: Callable[[], None]) -> bool:
        """Read it until it ends. True when it fell silent instead of closing."""
        heart = beat_until_dead(ws, cut)
        try:
            while True:
                message = await ws.receive()
                heart.heard()
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._hear(link, message.data)
                elif message.type is aiohttp.WSMsgType.PING:
                    await ws.pong(message.data)
                elif message.type is not aiohttp.WSMsgType.PONG:
                    return heart.is_dead
        except (OSError, aiohttp.ClientError):
            return heart.is_dead
        finally:
            heart.stop()

    async def _hear(self, link: HostLink, text: str) -> None:
        """One frame of an agent; unknown types are passed over, so that a newer agent can speak to us."""
        try:
            said = parse(text)
        except ValueError:
            log.warning("host %s sent a control frame that is not ours", link.host)
            return
        if said["type"] == "next-key":
            await self._store_next_key(link, said)

    async def _store_next_key(self, link: HostLink, said: dict[str, Any]) -> None:
        """The agent's new public key, vouched for by its present one: stored, then acknowledged."""
        nonce = self.rotations.get(link.host)
        public = str(said.get("public_key", ""))
        if nonce is None or not keys.is_signed_by(
            link.key,
            said.get("signature"),
            purpose="rotate",
            gateway=self.id,
            nonce=nonce + public.encode(),
            host=link.host,
        ):
            log.warning("host %s offered a key that its present key does not vouch for", link.host)
            return
        self.rotations.pop(link.host, None)
        self.storing.add(link.host)
        try:
            keys.parse_public_key(public)
            if await self.directory.store_key(link.host, link.key, public):
                link.key = public
                await link.send_control(type="rotated", public_key=public)
                link.drop_idle()
        except (OSError, ValueError) as exc:
            log.error("host %s: its new key was not stored: %s", link.host, exc)
        finally:
            self.storing.discard(link.host)

    async def _control_ended(self, link: HostLink, ws: web.WebSocketResponse, timed_out: bool) -> None:
        """Give a broken connection a moment to return; a silent one has had its time."""
        if link.control is not ws:
            return
        link.control = None
        self.rotations.pop(link.host, None)
        reason = "The agent stopped answering." if timed_out else "The agent's connection ended."
        if not timed_out:
            await asyncio.sleep(GRACE)
        if link.control is None:
            self._gone(link, reason)

    def _gone(self, link: HostLink, reason: str) -> None:
        link.take_down(reason)
        self.links.pop(link.host, None)
        self.herald.disconnected(link.host, reason)


def parse_hello(message: aiohttp.WSMessage) -> dict[str, Any]:
    """{"type": "hello", "host", "signature", "agent_version"}. Raises NotAdmitted."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise NotAdmitted(f"expected hello, got {message.type.name}")
    try:
        said = parse(message.data)
    except ValueError as exc:
        raise NotAdmitted(f"expected hello: {exc}") from exc
    host = str(said.get("host"))
    if said["type"] != "hello" or not host.isdecimal() or len(host) > 19:
        raise NotAdmitted("expected hello with a host id")
    version = str(said.get("agent_version", ""))[:40]
    return {"host": host, "signature": said.get("signature"), "agent_version": version}


def prepare_transport(request: web.Request) -> Callable[[], None]:
    """Kernel keep-alive and bounded buffers for a connection; gives what cuts it at once."""
    transport = request.transport
    if transport is None:
        return lambda: None
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        # Bounds what is on its way after a Ctrl-C, as the agent does at its end.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
    return transport.abort
