"""The base of every WebSocket that a browser opens: who it is, where it comes from, and whether that still holds.

Close codes: 4401 not signed in (any more), 4403 not allowed, 4404 not there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from channels.auth import get_user
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db import DatabaseError
from django.http import Http404
from django.http.request import split_domain_port, validate_host

from controlplane.lib.errors import Forbidden
from controlplane.lib.origin import Door, entered
from controlplane.lib.threads import in_thread

log = logging.getLogger(__name__)

RECHECK_SECONDS = 5.0
NOT_SIGNED_IN, NOT_ALLOWED, NOT_THERE = 4401, 4403, 4404

# What else keeps a signed-in user out of every stream, asked in a thread. `access` adds to it: it knows, we may not.
KEPT_OUT: list[Callable[[Any], bool]] = []


def same_origin(scope: dict[str, Any]) -> bool:
    """Whether the handshake's Origin is the very address it asks for: scheme, host and port, and one of ours.

    An absent Origin is refused: every browser sends one, and a cookie is of use to nobody else (RFC 6455, 10.2).
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    secure = scope.get("scheme") == "wss" or headers.get(b"x-forwarded-proto") == b"https"
    name, _ = split_domain_port(host)
    if not name or not validate_host(name, settings.ALLOWED_HOSTS):
        return False
    # Compared as written, not taken apart: a browser spells both alike, and what cannot be read cannot be ours.
    return headers.get(b"origin") == f"{'https' if secure else 'http'}://{host}".encode("latin-1")


def is_alive(session: SessionBase) -> bool:
    """Whether it is still stored and has not expired: what a stream holds of it is as old as its first request."""
    if not session.session_key:
        return False
    stored = import_module(settings.SESSION_ENGINE).SessionStore(session.session_key)
    return SESSION_KEY in stored.load()


class OriginCheck:
    """ASGI middleware: refuse a WebSocket handshake from another site before anything else looks at it.

    `told` is called with the scope of each that was refused, before the answer.
    """

    def __init__(self, inner: Any, told: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self.inner = inner
        self.told = told

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and not same_origin(scope):
            await receive()
            try:
                await self.told(scope)
            finally:
                await send({"type": "websocket.close", "code": NOT_ALLOWED})
            return
        await self.inner(scope, receive, send)


class NoSuchSocket:
    """ASGI application for every other address: closed before it is accepted, without a word in the log."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": NOT_THERE})


class SignedInConsumer(AsyncWebsocketConsumer):
    """A consumer that opens only for a signed-in user with a right, and closes when that ends.

    Subclasses give `authorise` (sync, in a thread; raises Http404 or Forbidden) and `opened`. The session and
    the right are asked again every `RECHECK_SECONDS`.
    """

    subprotocol: str | None = None
    relay: asyncio.Task[None] | None = None
    """What feeds it, where a subclass has such a thing."""

    def authorise(self) -> None:
        """Raise Http404 or Forbidden unless `self.scope["user"]` may have this stream."""
        raise NotImplementedError

    def is_there(self) -> bool:
        """Whether what the open stream is of is still there, whoever may see it. Sync, in a thread."""
        return False

    async def opened(self) -> None:
        """Called once after the handshake was accepted."""

    async def refused(self, exc: Exception) -> None:
        """Called when `authorise` has refused the handshake."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        with entered(door=Door.SOCKET, ip=(scope.get("client") or [None])[0]):
            return await super().__call__(scope, receive, send)

    async def connect(self) -> None:
        self._recheck: asyncio.Task[None] | None = None
        refusal = await self._refusal(self.refused)
        # Accepted first, so that the browser reads our close code and not just "1006".
        await self.accept(self.subprotocol)
        if refusal is not None:
            await self.close(refusal)
            return
        self._recheck = asyncio.create_task(self._keep_checking())
        await self.opened()

    async def disconnect(self, code: int) -> None:
        if self._recheck is not None:
            self._recheck.cancel()
        await self.closed()

    async def closed(self) -> None:
        """Called once when the socket has ended, however it ended."""

    async def cut_off(self, code: int) -> None:
        """The right to it has ended: close. What feeds it ends before, as a client that reads nothing holds up even its
        own close.
        """
        if self.relay is not None:
            self.relay.cancel()
        await self.close(code)

    async def end_relay(self) -> None:
        """Cancel what feeds it, and wait. Once: cancelled again it would not come to write down its end."""
        if self.relay is not None:
            if not self.relay.cancelling():
                self.relay.cancel()
            await asyncio.gather(self.relay, return_exceptions=True)

    async def _refusal(self, told: Callable[[Exception], Awaitable[None]] | None = None) -> int | None:
        self.scope["user"] = await get_user(self.scope)
        if not self.scope["user"].is_authenticated or not self.scope["user"].is_active:
            return NOT_SIGNED_IN
        if await in_thread(self._is_kept_out):
            return NOT_SIGNED_IN
        try:
            await in_thread(self.authorise)
        except (Http404, Forbidden) as exc:
            if told is not None:
                await told(exc)
            return NOT_ALLOWED if isinstance(exc, Forbidden) else NOT_THERE
        return None

    def _is_kept_out(self) -> bool:
        return any(asked(self.scope["user"]) for asked in KEPT_OUT)

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                alive = await in_thread(self._session_alive)
                refusal = await self._refusal() if alive else NOT_SIGNED_IN
                # Whoever had it open knows of it: that their right has ended is no secret, and no removal.
                if refusal == NOT_THERE and await in_thread(self.is_there):
                    refusal = NOT_ALLOWED
            except DatabaseError as exc:
                # Nobody can sign out or lose a right meanwhile either; the next round asks again.
                log.warning("a stream's right could not be checked: %s", exc)
                continue
            if refusal is not None:
                await self.cut_off(refusal)
                return

    def _session_alive(self) -> bool:
        return is_alive(self.scope["session"])
