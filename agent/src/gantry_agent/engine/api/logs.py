"""GET /containers/{name}/logs."""

import contextlib
import re

from aiohttp import web

from gantry_agent.engine.containers import logs
from gantry_agent.engine.containers.log_records import Wanted, stamp
from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument, Unsupported

from .hijack import stream_type
from .routes import Routes, flag, lasting

routes = Routes()


@routes("GET", "/containers/{name}/logs")
async def get_logs(engine: Engine, request: web.Request) -> web.StreamResponse:
    """What a container wrote: frames of stdout and stderr, or the bare bytes of a terminal."""
    container = engine.containers.get(request.match_info["name"])
    stdout, stderr = flag(request, "stdout"), flag(request, "stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    check_readable(container)
    wanted = Wanted(
        stdout=stdout,
        stderr=stderr,
        timestamps=flag(request, "timestamps"),
        since=moment(request, "since"),
        until=moment(request, "until"),
        is_framed=not container.is_tty,
    )
    tail = request.query.get("tail", "")
    count = int(tail) if re.fullmatch(r"\d{1,15}", tail) else None
    with contextlib.ExitStack() as stack:
        life = stack.enter_context(engine.following.lives.of(container)) if flag(request, "follow") else None
        place = await logs.place(engine.following.log(container), wanted, tail=count, ends_now=life is None)
        stack.callback(place.close)
        response = web.StreamResponse(headers={"Content-Type": stream_type(request, is_framed=wanted.is_framed)})
        await response.prepare(request)
        lasting(request)
        async with contextlib.aclosing(logs.read(place, wanted, life=life, watcher=engine.following.watcher)) as pieces:
            async for data in pieces:
                if data:
                    await response.write(data)
                elif request.transport is None:
                    return response  # a client that has gone is only noticed by looking
        await response.write_eof()
    return response


def check_readable(container: Container) -> None:
    """Raises Unsupported where nobody may read what was written."""
    if (container.host_config.get("LogConfig") or {}).get("Type") == "none":
        raise Unsupported("configured logging driver does not support reading")


def moment(request: web.Request, name: str) -> bytes | None:
    """A time of the query, seconds since the epoch with up to nine decimals, as logs compare it; None for none or 0.
    Raises InvalidArgument."""
    text = request.query.get(name, "")
    match = re.fullmatch(r"(-?\d{1,12})(?:\.(\d{1,9})\d*)?", text)
    if text and not match:
        raise InvalidArgument(f'invalid value for "{name}": {text!r} is not a time in seconds')
    nanoseconds = int(match[1]) * 1_000_000_000 + int((match[2] or "").ljust(9, "0")) if match else 0
    return stamp(nanoseconds) if nanoseconds else None
