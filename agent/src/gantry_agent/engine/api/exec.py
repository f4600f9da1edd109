"""Commands run inside containers: /containers/{name}/exec and /exec/{id}/…"""

import asyncio
import contextlib
from typing import Any

from aiohttp import web

from gantry_agent.engine.containers.exec import Exec
from gantry_agent.engine.containers.log_records import frame
from gantry_agent.engine.containers.streams import Console, DetachKeys, drop_input, give_input, parse_keys, take_output
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, InvalidArgument

from .hijack import Stream, hijack
from .routes import Routes, body_of, number

routes = Routes()


@routes("POST", "/containers/{name}/exec")
async def create_exec(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Take note of a command; answers {"Id"}."""
    container = engine.containers.get(request.match_info["name"])
    exec_ = Exec.of(container, await body_of(request))
    if exec_.keys:
        parse_keys(exec_.keys)
    engine.following.execs.create(container, exec_)
    return web.json_response({"Id": exec_.id}, status=201)


@routes("GET", "/exec/{id}/json")
async def inspect_exec(engine: Engine, request: web.Request) -> web.StreamResponse:
    """How a command goes."""
    exec_ = engine.following.execs.get(request.match_info["id"])
    return web.json_response(exec_.to_inspect(engine.following.execs.container_of(exec_)))


@routes("POST", "/exec/{id}/resize")
async def resize_exec(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Set the size of its terminal."""
    exec_ = engine.following.execs.get(request.match_info["id"])
    height, width = size_of(request)
    await engine.following.execs.resize(exec_, height, width)
    container = engine.following.execs.container_of(exec_)
    engine.containers.tell(container, "resize", height=str(height), width=str(width))
    return web.Response()


@routes("POST", "/exec/{id}/start")
async def start_exec(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Run it: detached (an empty answer once it runs), or with its streams on this connection until it ends."""
    exec_ = engine.following.execs.get(request.match_info["id"])
    container = engine.following.execs.container_of(exec_)
    body = await body_of(request)
    engine.following.execs.claim(exec_, container)
    if body.get("Detach"):
        await engine.following.execs.begin(exec_, container, is_attached=False)
        return web.Response()
    stream = await hijack(request, framed=not exec_.tty)
    try:
        console = await engine.following.execs.begin(
            exec_, container, is_attached=True, size=_size(body.get("ConsoleSize"))
        )
    except (EngineError, OSError) as exc:
        # The head is written, so the reason goes where the output would have gone, as Docker does.
        text = f"{exc.message if isinstance(exc, EngineError) else exc}\r\n".encode()
        with contextlib.suppress(ConnectionResetError):
            await stream.write(text if exec_.tty else frame(1, text))
        return stream.finish()
    if console is not None:
        try:
            await _carry(engine, exec_, stream, console)
        finally:
            console.close()
    return stream.finish()


async def _carry(engine: Engine, exec_: Exec, stream: Stream, console: Console) -> None:
    """Bytes both ways until the command ends, the client goes or detaches; whoever reads to the end can inspect the
    exit code at once."""
    keys = DetachKeys(exec_.keys) if exec_.tty else None
    given = give_input(stream, console, keys) if exec_.stdin else drop_input(stream)
    reading: asyncio.Task[Any] = asyncio.create_task(given)
    writing = asyncio.create_task(
        take_output(stream, console, is_framed=not exec_.tty, stdout=exec_.stdout, stderr=exec_.stderr)
    )
    gone = asyncio.create_task(stream.gone.wait())
    tasks: set[asyncio.Task[Any]] = {reading, writing, gone}
    try:
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not writing.done() and not gone.done() and not reading.result():
                await asyncio.wait((writing, gone), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
                await engine.following.execs.end(exec_)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if reading.done() and not reading.cancelled() and reading.exception() is None and reading.result() is True:
        engine.containers.tell(engine.following.execs.container_of(exec_), "exec_detach", execID=exec_.id)


def size_of(request: web.Request) -> tuple[int, int]:
    """h and w of the query. Raises InvalidArgument."""
    height, width = number(request, "h"), number(request, "w")
    if height is None or width is None or not (0 <= height < 65536 and 0 <= width < 65536):
        raise InvalidArgument("h and w must be the height and width of the terminal in characters")
    return height, width


def _size(given: object) -> tuple[int, int] | None:
    """A ConsoleSize: [height, width]."""
    if isinstance(given, list) and len(given) == 2 and all(isinstance(each, int) and each > 0 for each in given):
        return given[0], given[1]
    return None
