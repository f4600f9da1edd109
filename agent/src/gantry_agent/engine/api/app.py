"""The application: all routes with and without a version, errors in Docker's shape, one listener on a unix socket."""

import logging
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion10, web

from gantry_agent import __version__
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, InvalidArgument, told

from . import (
    archives,
    builds,
    containers,
    events,
    exec,
    image_files,
    images,
    logs,
    networks,
    registry,
    streams,
    system,
    unsupported,
    volumes,
)
from .routes import API_VERSION, LASTING, MIN_API_VERSION, Handler, Routes, end_lasting

log = logging.getLogger(__name__)

TABLES: tuple[Routes, ...] = (
    system.routes,
    events.routes,
    images.routes,
    image_files.routes,
    registry.routes,
    logs.routes,
    exec.routes,
    streams.routes,
    networks.routes,
    containers.routes,
    archives.routes,
    builds.routes,
    volumes.routes,
    unsupported.routes,
)

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(engine: Engine) -> web.Application:
    """The aiohttp application of one engine."""
    app = web.Application(middlewares=[_explain], client_max_size=0)
    app.on_response_prepare.append(_sign)
    app[LASTING] = set()
    app.on_shutdown.append(end_lasting)
    for table in TABLES:
        for method, path, handler in table.all:
            bound = _bind(engine, handler)
            app.router.add_route(method, path, bound)
            app.router.add_route(method, "/v{api_version:[0-9]+[.][0-9]+}" + path, bound)
    return app


def _bind(engine: Engine, handler: Handler) -> Next:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(engine, request)

    return answer


@web.middleware
async def _explain(request: web.Request, handler: Next) -> web.StreamResponse:
    """Errors as {"message": …}, the version checked, and what every answer of Docker says of itself."""
    if request.version < HttpVersion10 and request.transport is not None:
        request.transport.abort()  # a line without a version is no HTTP request, though the parser takes it for 0.9
        raise ConnectionResetError
    try:
        _check_version(request.match_info.get("api_version"))
        response = await handler(request)
    except EngineError as exc:
        response = failure(exc.status, exc.message)
    except web.HTTPException as exc:
        # As Docker: a known path under another method is as unknown as any other.
        is_unknown = exc.status in (404, 405)
        response = failure(404, "page not found") if is_unknown else failure(exc.status, exc.reason)
    except ConnectionResetError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response(status=499)  # the client has gone: aiohttp drops this, where it would log an exception
    except Exception as exc:
        log.exception("%s %s failed", request.method, request.path)
        response = failure(500, told(exc))
    return response


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer of Docker says of itself; JSON without a charset, as clients compare it."""
    response.headers["Api-Version"] = API_VERSION
    response.headers["Docker-Experimental"] = "false"
    response.headers["Ostype"] = "linux"
    response.headers["Server"] = f"Gantry/{__version__} (linux)"
    if response.headers.get("Content-Type", "").startswith("application/json;"):
        response.headers["Content-Type"] = "application/json"


def failure(status: int, message: str) -> web.Response:
    """An error as Docker words it; 304 has no body."""
    if status == 304:
        return web.Response(status=304)
    return web.json_response({"message": message}, status=status)


def _check_version(asked: str | None) -> None:
    """Raises InvalidArgument for a version this engine does not speak."""
    if asked is None:
        return
    version = tuple(int(part) for part in asked.split("."))
    oldest, newest = (tuple(int(part) for part in text.split(".")) for text in (MIN_API_VERSION, API_VERSION))
    if version < oldest:
        raise InvalidArgument(f"client version {asked} is too old. Minimum supported API version is {MIN_API_VERSION}")
    if version > newest:
        raise InvalidArgument(f"client version {asked} is too new. Maximum supported API version is {API_VERSION}")
