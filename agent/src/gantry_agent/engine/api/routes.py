"""The table of routes, and how a handler reads its request.

A module of handlers makes one `Routes` and decorates:

    routes = Routes()

    @routes("POST", "/containers/{name}/pause")
    async def pause(engine: Engine, request: web.Request) -> web.StreamResponse: ...

Every path also answers below a version (`/v1.24/…` to `/v1.47/…`).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument

API_VERSION = "1.47"
MIN_API_VERSION = "1.24"
GONE_EVERY = 1.0  # seconds between looks for a client that has gone
MAX_BODY = 8 << 20  # bytes of a JSON body

Handler = Callable[[Engine, web.Request], Awaitable[web.StreamResponse]]

LASTING = web.AppKey("LASTING", set[asyncio.Task[Any]])
"""The requests that end when their client or a container does, and at once when the engine stops."""


def lasting(request: web.Request) -> None:
    """Call at the beginning of a request without an end of its own: a stopping engine waits for all others."""
    task = asyncio.current_task()
    if task is not None and (tasks := request.app.get(LASTING)) is not None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def gone(request: web.Request) -> None:
    """Returns when the client has closed its connection; aiohttp tells nobody who only waits."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110, nothing tells
        await asyncio.sleep(GONE_EVERY)


async def end_lasting(app: web.Application) -> None:
    """The engine stops: its streams end."""
    tasks = app[LASTING]
    for task in tuple(tasks):
        task.cancel()


class Routes:
    """A list of (method, path, handler)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, Handler]] = []

    def __call__(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Register the decorated handler. `path` may hold `{name}`, or `{name:.+}` for names with slashes."""

        def register(handler: Handler) -> Handler:
            self.all.append((method, path, handler))
            return handler

        return register


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request, {} when there is none. Raises InvalidArgument."""
    content = await request.content.read(MAX_BODY + 1)
    while not request.content.at_eof() and len(content) <= MAX_BODY:
        content += await request.content.read(MAX_BODY + 1 - len(content))
    if len(content) > MAX_BODY:
        raise InvalidArgument(f"the body is larger than {MAX_BODY} bytes")
    if not content.strip():
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"the body is not JSON: {exc}") from exc
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidArgument("the body must be a JSON object")
    return found


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """A boolean of the query, read as Docker reads it: anything but "", 0, no, false and none is true."""
    value = request.query.get(name)
    if value is None:
        return default
    return value.strip().lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str, default: int | None = None) -> int | None:
    """A whole number of the query. Raises InvalidArgument."""
    value = request.query.get(name, "")
    if not value:
        return default
    if not re.fullmatch(r"-?\d{1,18}", value):
        raise InvalidArgument(f"{name} must be a whole number, not {value!r}")
    return int(value)


def filters_of(request: web.Request, *known: str) -> dict[str, list[str]]:
    """The `filters` of the query: {"label": ["a=b"]}, also in the old form {"label": {"a=b": true}}.

    Raises InvalidArgument for what is not JSON, and for a filter not in `known`.
    """
    text = request.query.get("filters", "")
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"invalid filter: {exc}") from exc
    if not isinstance(found, dict):
        raise InvalidArgument("invalid filter: expected a JSON object")
    filters: dict[str, list[str]] = {}
    for name, values in found.items():
        if name not in known:
            raise InvalidArgument(f"invalid filter {name!r}")
        if isinstance(values, dict):
            values = [value for value, on in values.items() if on]
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidArgument(f"invalid filter {name!r}: expected a list of strings")
        filters[name] = values
    return filters
