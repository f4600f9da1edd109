"""Containers over the API: made, listed, inspected, started and ended. Their streams are in other modules."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gantry_agent.engine.containers import links, listing, top, views
from gantry_agent.engine.containers.files import upper_of
from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.containers.waiting import CONDITIONS
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Conflict, InvalidArgument, NotFound
from gantry_agent.engine.layers import sizes
from gantry_agent.engine.oci import Platform

from .routes import Routes, body_of, filters_of, flag, gone, lasting, number

routes = Routes()


def _container(engine: Engine, request: web.Request) -> Container:
    return engine.containers.get(request.match_info["name"])


async def containers_usage(engine: Engine) -> list[dict[str, Any]]:
    """What /system/df says of containers: all of them, with their sizes."""
    return await _with_sizes(engine, listing.chosen(engine, {}, everything=True, limit=0))


async def _with_sizes(engine: Engine, containers: Sequence[Container]) -> list[dict[str, Any]]:
    names = links.names(engine.containers.all())
    return [
        views.summary(
            engine, each, aliases=names.get(each.id, ()), size=await sizes.size_of(upper_of(engine.layout, each))
        )
        for each in containers
    ]


@routes("GET", "/containers/json")
async def list_containers(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Containers that the filters let through, newest first; from memory, but for their sizes."""
    filters = filters_of(request, *listing.KNOWN)
    limit = number(request, "limit", 0) or 0
    found = listing.chosen(engine, filters, everything=flag(request, "all"), limit=limit)
    if not flag(request, "size"):
        names = links.names(engine.containers.all())
        return web.json_response([views.summary(engine, each, aliases=names.get(each.id, ())) for each in found])
    return web.json_response(await _with_sizes(engine, found))


@routes("POST", "/containers/create")
async def create(engine: Engine, request: web.Request) -> web.StreamResponse:
    """A new container; it does not run yet."""
    body = await body_of(request)
    if not body:
        raise InvalidArgument("invalid JSON: got EOF while reading request body")
    name = request.query.get("name", "")
    platform = request.query.get("platform", "")
    wanted = Platform.parse(platform) if platform else None
    container, warnings = await engine.containers.create(name, body, wanted)
    return web.json_response({"Id": container.id, "Warnings": warnings}, status=201)


@routes("GET", "/containers/{name}/json")
async def inspect(engine: Engine, request: web.Request) -> web.StreamResponse:
    """All that is known of one container."""
    container = _container(engine, request)
    size = await sizes.size_of(upper_of(engine.layout, container)) if flag(request, "size") else None
    return web.json_response(views.inspect(engine, container, size=size))


@routes("POST", "/containers/{name}/start")
async def start(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Start its process."""
    await asyncio.shield(engine.containers.start(_container(engine, request)))
    return web.Response(status=204)


@routes("POST", "/containers/{name}/stop")
async def stop(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Ask its process to end, and make it after a while."""
    await engine.containers.stop(_container(engine, request), number(request, "t"), request.query.get("signal", ""))
    return web.Response(status=204)


@routes("POST", "/containers/{name}/restart")
async def restart(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Stop and start."""
    container = _container(engine, request)
    work = engine.containers.restart(container, number(request, "t"), request.query.get("signal", ""))
    await asyncio.shield(work)
    return web.Response(status=204)


@routes("POST", "/containers/{name}/kill")
async def kill(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Send a signal."""
    await engine.containers.kill(_container(engine, request), request.query.get("signal", ""))
    return web.Response(status=204)


@routes("POST", "/containers/{name}/pause")
async def pause(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Freeze all its processes."""
    await engine.containers.pause(_container(engine, request))
    return web.Response(status=204)


@routes("POST", "/containers/{name}/unpause")
async def unpause(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Let them go on."""
    await engine.containers.unpause(_container(engine, request))
    return web.Response(status=204)


@routes("POST", "/containers/{name}/rename")
async def rename(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Another name."""
    container, name = _container(engine, request), request.query.get("name", "")
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    await engine.containers.rename(container, name)
    return web.Response(status=204)


@routes("POST", "/containers/{name}/update")
async def update(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Other limits, another restart policy."""
    container = _container(engine, request)
    warnings = await engine.containers.update(container, await body_of(request))
    return web.json_response({"Warnings": warnings})


@routes("DELETE", "/containers/{name:.+}")
async def remove(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove it, and with `v` its anonymous volumes; with `link` a link alone, PARENT/ALIAS."""
    if flag(request, "link"):
        await links.unlink(engine, request.match_info["name"])
        return web.Response(status=204)
    work = engine.containers.remove(
        _container(engine, request), force=flag(request, "force"), volumes=flag(request, "v")
    )
    await asyncio.shield(work)
    return web.Response(status=204)


@routes("POST", "/containers/{name}/wait")
async def wait(engine: Engine, request: web.Request) -> web.StreamResponse:
    """The exit code. The head of the answer goes out at once: clients start the container when they have seen it."""
    container, condition = _container(engine, request), request.query.get("condition", "") or "not-running"
    if condition not in CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    waiting = asyncio.ensure_future(engine.containers.wait(container, condition))
    try:
        await asyncio.sleep(0)  # it listens before the client is told so
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        lasting(request)
        leaving = asyncio.ensure_future(gone(request))
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not waiting.done():
            return response
        code = waiting.result()
    finally:
        waiting.cancel()
    await response.write(json.dumps({"StatusCode": code}).encode() + b"\n")
    await response.write_eof()
    return response


@routes("POST", "/containers/prune")
async def prune(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove what does not run."""
    filters = filters_of(request, "until", "label", "label!")
    deleted, freed = [], 0
    for each in listing.pruned(engine, filters):
        size = await sizes.size_of(upper_of(engine.layout, each))
        try:
            await engine.containers.remove(each)
        except (Conflict, NotFound):
            continue  # it was started meanwhile, or is gone
        deleted.append(each.id)
        freed += size
    engine.events.publish("container", "prune", "", reclaimed=str(freed))
    return web.json_response({"ContainersDeleted": deleted or None, "SpaceReclaimed": freed})


@routes("GET", "/containers/{name}/top")
async def processes(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Its processes, as `ps` on the host shows them."""
    container = _container(engine, request)
    found: dict[str, Any] = await top.top(container, request.query.get("ps_args", "") or "-ef")
    engine.containers.tell(container, "top")
    return web.json_response(found)
