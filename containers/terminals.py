"""Terminals as the agents hold them: a client of an agent's /gantry/terminals, over the host's agent socket.

The shell belongs to the agent, so it outlives the browser, this process, the gateway and the network.

    TerminalError              the agent said no (message, hint)
    ├── NotHeld                it holds no such terminal (any more)
    └── HostAway               nobody answers on the host's agent socket
"""

from __future__ import annotations

import hmac
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from django.conf import settings

from containers.models import Container
from controlplane.access.models import User
from controlplane.lib.errors import Conflict, InvalidArgument
from hosts.models import Host

ANSWER_SECONDS = 40.0  # starting a command may take the engine half of that
CONNECT_SECONDS = 5.0
MAX_FRAME = 1024 * 1024  # bytes, as the agent's own limit
MAX_COMMAND = 4096  # characters


class TerminalError(Conflict):
    """The agent refused; `status` is its HTTP status."""

    def __init__(self, message: str, hint: str = "", status: int = 409) -> None:
        super().__init__(message, hint)
        self.status = status


class NotHeld(TerminalError):
    """No such terminal: it ended, or was never opened."""


class HostAway(TerminalError):
    """The host is out of contact."""


@dataclass(frozen=True)
class Order:
    """What to open. `command` None: the best shell the container has. Sizes in character cells."""

    container: str
    command: list[str] | None
    user: str
    columns: int
    rows: int


def terminal_id(user: User, container: Container, session: str) -> str:
    """The agent's name for one person's session in one container.

    It is derived, not stored: whoever presents somebody else's session names another terminal by it.
    """
    message = f"{user.pk}\0{container.host_id}\0{container.engine_id}\0{session}".encode()
    key = b"gantry terminal v1\0" + settings.SECRET_KEY.encode()
    return hmac.new(key, message, "sha256").hexdigest()[:32]


def parse_command(text: str) -> list[str] | None:
    """Words of a command line as a POSIX shell would split it; None when it is empty. Raises InvalidArgument."""
    if len(text) > MAX_COMMAND:
        raise InvalidArgument(f"The command is longer than {MAX_COMMAND} characters.")
    try:
        return shlex.split(text) or None
    except ValueError as exc:
        raise InvalidArgument(f"The command {text!r} cannot be read: {exc}.", "Close each quotation mark.") from exc


class Terminals:
    """The terminals of one host. A context manager; every call may raise HostAway and TerminalError."""

    def __init__(self, host: Host) -> None:
        self.host = host
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS)
        connector = aiohttp.UnixConnector(path=str(host.agent_socket))
        self.client = aiohttp.ClientSession("http://agent", connector=connector, timeout=timeout)

    async def __aenter__(self) -> Terminals:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def open(self, ident: str, order: Order) -> list[str]:
        """Start the command; the one that was started (a shell that was found)."""
        body = {"id": ident, **vars(order)}
        async with self._asked(), self.client.post("/gantry/terminals", json=body) as answer:
            found = await _content(answer)
        return [str(word) for word in found.get("command") or []]

    @asynccontextmanager
    async def attached(self, ident: str, offset: int) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The terminal's bytes from `offset` on, as the agent's WebSocket. Raises NotHeld."""
        path = f"/gantry/terminals/{ident}/attach"
        try:
            async with self._asked():
                socket = await self.client.ws_connect(
                    path,
                    params={"from": str(offset)},
                    max_msg_size=MAX_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                )
        except TerminalError as exc:
            if exc.status == 404:
                raise NotHeld("This shell is no longer held on its host.", "Open a new one.", exc.status) from exc
            raise
        async with socket:
            yield socket

    async def running(self) -> set[str]:
        """The names of all terminals whose command runs."""
        async with self._asked(), self.client.get("/gantry/terminals") as answer:
            held = await answer.json(content_type=None) if answer.status == 200 else None
        if not isinstance(held, list):
            raise HostAway("The host's agent does not say which terminals it holds.", "", 503)
        return {str(terminal["id"]) for terminal in held if not terminal["ended"]}

    async def end(self, ident: str) -> bool:
        """End the command and forget the terminal; whether there was one."""
        try:
            async with self._asked(), self.client.delete(f"/gantry/terminals/{ident}") as answer:
                await _content(answer)
        except TerminalError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        """Translate what aiohttp raises."""
        try:
            yield
        except aiohttp.WSServerHandshakeError as exc:
            if exc.status == 503:
                raise HostAway(f"{self.host.name} does not answer.", "It is tried again by itself.", 503) from exc
            raise TerminalError("The host's agent refused the connection.", "", exc.status) from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise HostAway(f"{self.host.name} does not answer.", "It is tried again by itself.", 503) from exc


async def _content(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The JSON object of an answer. Raises TerminalError with the agent's words for an error."""
    try:
        found = await answer.json(content_type=None) if answer.status != 204 else {}
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    if answer.status == 503:
        raise HostAway(str(found.get("message") or "The host does not answer."), str(found.get("hint") or ""), 503)
    if answer.status >= 400:
        message = str(found.get("message") or f"The host's agent answered {answer.status}.")
        raise TerminalError(message, str(found.get("hint") or ""), answer.status)
    return found
