"""Networks over the API."""

from typing import Any

from aiohttp import web

from gantry_agent.engine.containers import wire
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.images.moments import moment_of, rfc3339
from gantry_agent.engine.networks import Network, describe

from .labels import boolean, fit_labels, fits_name
from .routes import Routes, body_of, filters_of

routes = Routes()

LIST_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")


@routes("GET", "/networks")
async def list_networks(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Every network that the filters let through."""
    filters = filters_of(request, *LIST_FILTERS)
    if unknown := set(filters.get("type", ())) - {"custom", "builtin"}:
        raise InvalidArgument(f"invalid filter: 'type'='{unknown.pop()}'")
    dangling = boolean("dangling", filters.get("dangling", ()))
    found = [each for each in engine.networks.catalog.all() if _fits(each, filters)]
    if dangling is not None:
        found = [each for each in found if not each.is_builtin and bool(engine.networks.members(each)) is not dangling]
    return web.json_response([describe.network(each, rfc3339(each.created_at)) for each in found])


@routes("GET", "/networks/{id}")
async def inspect_network(engine: Engine, request: web.Request) -> web.StreamResponse:
    """All that is known of one network, and who is in it."""
    found = engine.networks.catalog.get(request.match_info["id"])
    return web.json_response(describe.network(found, rfc3339(found.created_at), engine.networks.members(found)))


@routes("POST", "/networks/create")
async def create_network(engine: Engine, request: web.Request) -> web.StreamResponse:
    """A new bridge."""
    body = await body_of(request)
    wire.check_network(body)
    found = await engine.networks.create(body)
    return web.json_response({"Id": found.id, "Warning": ""}, status=201)


@routes("DELETE", "/networks/{id}")
async def delete_network(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove a network that nobody is in."""
    await engine.networks.remove(request.match_info["id"])
    return web.Response(status=204)


@routes("POST", "/networks/{id}/connect")
async def connect(engine: Engine, request: web.Request) -> web.StreamResponse:
    """One more network for a container."""
    body = await body_of(request)
    name = _container(body)
    found = engine.networks.catalog.get(request.match_info["id"])
    container = engine.containers.get(name)
    async with engine.containers.lock(container):
        await engine.networks.connect(found, container, body.get("EndpointConfig") or {})
        await engine.containers.save(container)
    return web.Response()


@routes("POST", "/networks/{id}/disconnect")
async def disconnect(engine: Engine, request: web.Request) -> web.StreamResponse:
    """One network less for a container."""
    body = await body_of(request)
    name = _container(body)
    found = engine.networks.catalog.get(request.match_info["id"])
    container = engine.containers.get(name)
    async with engine.containers.lock(container):
        await engine.networks.disconnect(found, container)
        await engine.containers.save(container)
    return web.Response()


@routes("POST", "/networks/prune")
async def prune_networks(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove the networks that nobody is in; a stopped container's too, as Docker does."""
    filters = filters_of(request, "until", "label", "label!")
    before = min((moment_of(text) for text in filters.get("until", ())), default=None)
    removed = []
    for each in engine.networks.catalog.all():
        is_old = before is None or each.created_at < before
        if each.is_builtin or engine.networks.members(each) or not is_old or not fit_labels(each.labels, filters):
            continue
        await engine.networks.remove(each.id)
        removed.append(each.name)
    engine.events.publish("network", "prune", "", reclaimed="0")
    return web.json_response({"NetworksDeleted": removed or None})


def _container(body: dict[str, Any]) -> str:
    wire.check_connect(body)
    if not body.get("Container"):
        raise InvalidArgument("Container: the name or id of a container was expected")
    return str(body["Container"])


def _fits(network: Network, filters: dict[str, list[str]]) -> bool:
    kind = "builtin" if network.is_builtin else "custom"
    return (
        fit_labels(network.labels, filters)
        and fits_name(network.name, filters.get("name", ()))
        and (not filters.get("id") or any(text in network.id for text in filters["id"]))
        and (not filters.get("driver") or network.driver in filters["driver"])
        and (not filters.get("scope") or "local" in filters["scope"])
        and (not filters.get("type") or kind in filters["type"])
    )
