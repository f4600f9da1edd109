"""The application: all routes with and without a version, errors in Docker's shape, one listener on a unix socket."""

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, InvalidArgument

from . import image_files, images, registry, system
from .routes import API_VERSION, MIN_API_VERSION, Handler, Routes

log = logging.getLogger(__name__)

TABLES: tuple[Routes, ...] = (system.routes, images.routes, image_files.routes, registry.routes)

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(engine: Engine) -> web.Application:
    """The aiohttp application of one engine."""
    app = web.Application(middlewares=[_explain], client_max_size=0)
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
    try:
        _check_version(request.match_info.get("api_version"))
        response = await handler(request)
    except EngineError as exc:
        response = failure(exc.status, exc.message)
    except web.HTTPException as exc:
        response = failure(exc.status, "page not found" if exc.status == 404 else exc.reason)
    except ConnectionResetError:
        raise  # the client has gone; aiohttp closes up
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        response = failure(500, "the engine failed; its log says where")
    if not response.prepared:
        response.headers["Api-Version"] = API_VERSION
        response.headers["Ostype"] = "linux"
        response.headers["Server"] = "Gantry/0.1 (linux)"
    return response


def failure(status: int, message: str) -> web.Response:
    """An error as Docker words it; 304 has no body."""
    if status == 304:
        return web.Response(status=304)
    # The docker CLI reads the message only of a content type without a charset.
    body = json.dumps({"message": message}).encode()
    return web.Response(status=status, body=body, content_type="application/json")


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
