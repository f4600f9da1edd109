"""The agent's own API under /gantry/, reached through the tunnel (target "agent").

GET /gantry/host; POST and GET /gantry/terminals; GET …/terminals/<id>/attach; DELETE …/terminals/<id>.
"""

import asyncio
import re
import socket
import time
from typing import Any

from aiohttp import web

from .engine_client import Engine
from .errors import AgentError, EngineFailure
from .facts import HostFacts
from .shells import start, start_shell
from .terminal import MARK, Terminal

MAX_TERMINALS = 1000
MAX_BODY = 256 * 1024  # bytes of one request
SWEEP_EVERY = 15.0  # seconds between looks for abandoned terminals
IDENT = re.compile(r"[0-9A-Za-z-]{8,64}")


class Api:
    """The aiohttp application, and the terminals it holds."""

    def __init__(self, engine: Engine, facts: HostFacts) -> None:
        self.engine, self.facts = engine, facts
        self.terminals: dict[str, Terminal] = {}
        self.starting: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        app = web.Application(middlewares=[explain_errors], client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/gantry/host", self.host),
                web.get("/gantry/terminals", self.list),
                web.post("/gantry/terminals", self.create),
                web.get("/gantry/terminals/{id}/attach", self.attach),
                web.delete("/gantry/terminals/{id}", self.delete),
            ]
        )
        self.runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        await self.runner.setup()

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def accept(self, connected: socket.socket) -> None:
        """Serve HTTP on one end of a connected socket pair: no file, nothing to find or clean up."""
        server = self.runner.server
        if server is None:
            raise RuntimeError("the agent's API is not running")
        await asyncio.get_running_loop().connect_accepted_socket(server, connected)

    async def sweep(self) -> None:
        """End abandoned terminals and forget ended ones, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            now = time.monotonic()
            for terminal in [held for held in self.terminals.values() if held.is_abandoned(now)]:
                await terminal.kill()
                self.terminals.pop(terminal.id, None)

    async def host(self, request: web.Request) -> web.Response:
        return web.json_response(self.facts.facts())

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response([terminal.describe() for terminal in self.terminals.values()])

    async def create(self, request: web.Request) -> web.Response:
        order = parse_order(await _json(request))
        ident = order["id"]
        if ident in self.terminals or ident in self.starting:
            raise AgentApiError(409, f"There is a terminal {ident} already.")
        if len(self.terminals) + len(self.starting) >= MAX_TERMINALS:
            raise AgentApiError(503, f"This host holds {MAX_TERMINALS} terminals already.", "Close some of them.")
        self.starting.add(ident)
        try:
            terminal = await self._start(order)
        finally:
            self.starting.discard(ident)
        self.terminals[ident] = terminal
        task = asyncio.create_task(terminal.run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return web.json_response({"id": ident, "command": terminal.started.command}, status=201)

    async def _start(self, order: dict[str, Any]) -> Terminal:
        container = await self.engine.container(order["container"])
        state = container.get("State", {})
        name = str(container.get("Name", "")).removeprefix("/")
        if state.get("Paused"):
            raise AgentApiError(409, f"The container {name} is paused.", "Unpause it first.")
        if not state.get("Running"):
            raise AgentApiError(409, f"The container {name} is not running.", "Start it first.")
        if order["command"]:
            started = await start(self.engine, container["Id"], order["command"], order)
        else:
            started = await start_shell(self.engine, container["Id"], order)
        terminal = Terminal(order["id"], container, started, self.engine)
        try:
            await terminal.resize(order["columns"], order["rows"])
        except EngineFailure:
            pass  # it ended already; the attacher is told
        return terminal

    async def attach(self, request: web.Request) -> web.StreamResponse:
        terminal = self._find(request)
        wanted = request.query.get("from", "0")
        if not wanted.isdecimal():
            raise AgentApiError(400, "“from” is a byte offset.")
        ws = web.WebSocketResponse(compress=False, max_msg_size=1024 * 1024, timeout=3.0)
        await ws.prepare(request)
        await terminal.attach(ws, int(wanted))
        return ws

    async def delete(self, request: web.Request) -> web.Response:
        terminal = self._find(request)
        await terminal.kill()
        self.terminals.pop(terminal.id, None)
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Terminal:
        terminal = self.terminals.get(request.match_info["id"])
        if terminal is None:
            raise AgentApiError(404, "This terminal is no longer held.", "Open a new one.")
        return terminal


class AgentApiError(AgentError):
    """An answer other than success: HTTP status, message, hint."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


@web.middleware
async def explain_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Our errors and the engine's as JSON {"message", "hint"} with their status."""
    try:
        answer: web.StreamResponse = await handler(request)
    except (AgentApiError, EngineFailure) as exc:
        return web.json_response({"message": exc.message, "hint": exc.hint}, status=exc.status)
    return answer


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError as exc:
        raise AgentApiError(400, "The request is not JSON.") from exc


def parse_order(found: Any) -> dict[str, Any]:
    """Check the JSON of POST /gantry/terminals. Raises AgentApiError(400) that says what was expected."""
    if not isinstance(found, dict):
        raise AgentApiError(400, "Expected an object.")
    ident, container, command = found.get("id"), found.get("container"), found.get("command")
    if not isinstance(ident, str) or not IDENT.fullmatch(ident):
        raise AgentApiError(400, "Expected “id”: 8 to 64 letters, digits or dashes.")
    if not isinstance(container, str) or not container:
        raise AgentApiError(400, "Expected “container”: an id or a name.")
    if command is not None and not _is_texts(command):
        raise AgentApiError(400, "Expected “command”: a list of words, or null for a shell.")
    environment = found.get("env") or []
    if isinstance(environment, dict):
        environment = [f"{name}={value}" for name, value in environment.items()]
    if not _is_texts(environment):
        raise AgentApiError(400, "Expected “env”: NAME=VALUE texts.")
    if not any(text.startswith("TERM=") for text in environment):
        environment = [*environment, "TERM=xterm-256color"]
    return {
        "id": ident,
        "container": container,
        "command": command or None,
        "user": str(found.get("user") or ""),
        "env": [*environment, f"{MARK}={ident}"],
        "columns": _size(found.get("columns"), 80),
        "rows": _size(found.get("rows"), 24),
    }


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _size(value: Any, default: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int) or not 1 <= value <= 1000:
        raise AgentApiError(400, "Expected columns and rows between 1 and 1000.")
    return value
