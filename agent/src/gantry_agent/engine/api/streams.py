"""A container's streams: attach (hijacked or by WebSocket), resize, stats."""

import asyncio
import contextlib
import json

from aiohttp import WSMsgType, web

from gantry_agent.engine.containers import stats
from gantry_agent.engine.containers.attach import Attachment, attach, placed
from gantry_agent.engine.containers.life import Life
from gantry_agent.engine.containers.log_files import Cursor
from gantry_agent.engine.containers.model import Container, Status
from gantry_agent.engine.containers.streams import Duplex, parse_keys, resize
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Conflict

from .exec import size_of
from .hijack import hijack
from .logs import check_readable
from .routes import Routes, flag, lasting

routes = Routes()

STATS_INTERVAL = 1.0  # seconds


@routes("POST", "/containers/{name}/attach")
async def attach_container(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Output from now (`stream`) or from before (`logs`), input, until the run ends."""
    container = engine.containers.get(request.match_info["name"])
    asked = _asked(container, request)
    await request.read()
    with engine.following.lives.of(container, waits=True) as life:
        place = await placed(engine.following.log(container), asked)
        with contextlib.closing(place):
            stream = await hijack(request, framed=asked.is_framed)
            await _attach(engine, container, asked, stream, life=life, place=place)
    return stream.finish()


@routes("GET", "/containers/{name}/attach/ws")
async def attach_websocket(engine: Engine, request: web.Request) -> web.StreamResponse:
    """The same over a WebSocket: binary messages of bare output, and input."""
    container = engine.containers.get(request.match_info["name"])
    asked = _asked(container, request, is_framed=False)
    with engine.following.lives.of(container, waits=True) as life:
        place = await placed(engine.following.log(container), asked)
        with contextlib.closing(place):
            lasting(request)
            socket = web.WebSocketResponse(max_msg_size=1 << 20)
            await socket.prepare(request)
            await _attach(engine, container, asked, _WebSocket(socket), life=life, place=place)
            await socket.close()
    return socket


@routes("POST", "/containers/{name}/resize")
async def resize_container(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Set the size of its terminal."""
    container = engine.containers.get(request.match_info["name"])
    height, width = size_of(request)
    if not container.is_running:
        raise Conflict(f"Container {container.id} is not running")
    resize(engine.containers.conmon_paths(container).bundle, height, width)
    engine.containers.tell(container, "resize", height=str(height), width=str(width))
    return web.Response()


@routes("GET", "/containers/{name}/stats")
async def get_stats(engine: Engine, request: web.Request) -> web.StreamResponse:
    """What it uses: one JSON object a second, or one with `stream=false` (with the one before it, unless
    `one-shot`)."""
    container = engine.containers.get(request.match_info["name"])
    mounts = stats.cgroup_mounts()
    before = None
    if not flag(request, "stream", True):
        if container.is_running and not flag(request, "one-shot"):
            before = await asyncio.to_thread(stats.sample, container, mounts)
            await asyncio.sleep(STATS_INTERVAL)
        return web.json_response(stats.after(before, await asyncio.to_thread(stats.sample, container, mounts)))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    lasting(request)
    while request.transport is not None and engine.containers.find(container.id) is container:
        now = await asyncio.to_thread(stats.sample, container, mounts)
        await response.write(json.dumps(stats.after(before, now)).encode() + b"\n")
        before = now
        await asyncio.sleep(STATS_INTERVAL)
    return response


def _asked(container: Container, request: web.Request, *, is_framed: bool | None = None) -> Attachment:
    """What the query asks for. Raises Conflict in states one cannot attach in, InvalidArgument for its keys,
    Unsupported for a log nobody may read."""
    if container.state.status is Status.PAUSED:
        raise Conflict(f"Container {container.id} is paused, unpause the container before attach")
    if container.state.status is Status.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if flag(request, "logs"):
        check_readable(container)
    keys = request.query.get("detachKeys", "")
    if keys:
        parse_keys(keys)
    return Attachment(
        stdin=flag(request, "stdin") and bool(container.config.get("OpenStdin")),
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr"),
        replays=flag(request, "logs"),
        follows=flag(request, "stream"),
        is_framed=not container.is_tty if is_framed is None else is_framed,
        keys=keys,
        is_tty=container.is_tty,
    )


async def _attach(
    engine: Engine, container: Container, asked: Attachment, client: Duplex, *, life: Life, place: Cursor
) -> None:
    engine.containers.tell(container, "attach")
    is_detached = await attach(
        client,
        asked,
        place,
        socket=lambda: engine.containers.conmon_paths(container).attach,
        life=life,
        watcher=engine.following.watcher,
    )
    if is_detached:
        engine.containers.tell(container, "detach")


class _WebSocket:
    """A WebSocket as a client's end: each message is bytes, its closing is the client's going."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self.gone = asyncio.Event()

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY and message.data:
                return bytes(message.data)
            if message.type is WSMsgType.TEXT and message.data:
                return str(message.data).encode()
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                self.gone.set()
                raise ConnectionResetError("the client has gone")

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)
