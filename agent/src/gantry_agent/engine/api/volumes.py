"""Volumes over the API."""

import asyncio
from typing import Any

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument, NotFound, Unsupported
from gantry_agent.engine.images.moments import rfc3339
from gantry_agent.engine.volumes import Volume, tree_size

from .labels import boolean, fit_labels, fits_name
from .routes import Routes, body_of, filters_of, flag

routes = Routes()

ALL_BY_DEFAULT = (1, 42)  # before this version a prune took named volumes too


@routes("GET", "/volumes")
async def list_volumes(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Every volume that the filters let through."""
    filters = filters_of(request, "dangling", "driver", "label", "name")
    dangling = boolean("dangling", filters.get("dangling", ()))
    found = [
        _shape(engine, each)
        for each in engine.volumes.all()
        if fit_labels(each.labels, filters)
        and fits_name(each.name, filters.get("name", ()))
        and (not filters.get("driver") or "local" in filters["driver"])
        and (dangling is None or bool(engine.volumes.users(each.name)) is not dangling)
    ]
    return web.json_response({"Volumes": found, "Warnings": None})


@routes("POST", "/volumes/create")
async def create_volume(engine: Engine, request: web.Request) -> web.StreamResponse:
    """A new volume, or the one that has this name."""
    body = await body_of(request)
    if body.get("ClusterVolumeSpec"):
        raise Unsupported("this engine is no swarm: it has no cluster volumes")
    name, driver = body.get("Name") or "", body.get("Driver") or "local"
    if not isinstance(name, str) or not isinstance(driver, str):
        raise InvalidArgument("Name and Driver must be texts")
    volume = await engine.volumes.create(name, _texts(body, "Labels"), _texts(body, "DriverOpts"), driver)
    return web.json_response(_shape(engine, volume), status=201)


@routes("GET", "/volumes/{name}")
async def inspect_volume(engine: Engine, request: web.Request) -> web.StreamResponse:
    """All that is known of one volume."""
    return web.json_response(_shape(engine, engine.volumes.get(request.match_info["name"])))


@routes("PUT", "/volumes/{name}")
async def update_volume(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Only cluster volumes can be changed."""
    raise Unsupported("this engine is no swarm: it has no cluster volumes")


@routes("DELETE", "/volumes/{name}")
async def delete_volume(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove a volume that no container has."""
    name = request.match_info["name"]
    try:
        await engine.volumes.remove(name, force=flag(request, "force"))
    except NotFound as exc:
        raise NotFound(f"get {name}: no such volume") from exc
    return web.Response(status=204)


@routes("POST", "/volumes/prune")
async def prune_volumes(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove the anonymous volumes that no container has; with `all`, the named ones too. One with options of its
    driver stays, as with Docker: what it mounts may be the only thing that knows where the content is."""
    filters = filters_of(request, "label", "label!", "all")
    version = tuple(int(part) for part in request.match_info.get("api_version", "1.47").split("."))
    everything = boolean("all", filters.get("all", ())) or version < ALL_BY_DEFAULT
    removed, reclaimed = [], 0
    for volume in engine.volumes.all():
        if engine.volumes.users(volume.name) or volume.options or not fit_labels(volume.labels, filters):
            continue
        if not everything and not volume.is_anonymous:
            continue
        size = await asyncio.to_thread(tree_size, engine.volumes.path(volume.name))
        await engine.volumes.remove(volume.name, force=True)
        removed.append(volume.name)
        reclaimed += size
    engine.events.publish("volume", "prune", "", reclaimed=str(reclaimed))
    return web.json_response({"VolumesDeleted": removed or None, "SpaceReclaimed": reclaimed})


async def volumes_usage(engine: Engine) -> list[dict[str, Any]]:
    """The volumes' part of GET /system/df."""
    found = []
    for volume in engine.volumes.all():
        size = await asyncio.to_thread(tree_size, engine.volumes.path(volume.name))
        usage = {"Size": size, "RefCount": len(engine.volumes.users(volume.name))}
        found.append({**_shape(engine, volume), "UsageData": usage})
    return found


def _shape(engine: Engine, volume: Volume) -> dict[str, Any]:
    return {
        "CreatedAt": rfc3339(volume.created_at // 10**9 * 10**9),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": str(engine.volumes.path(volume.name)),
        "Name": volume.name,
        "Options": volume.options,
        "Scope": "local",
    }


def _texts(body: dict[str, Any], key: str) -> dict[str, str]:
    found = body.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidArgument(f"{key} must be an object of texts")
    return dict(found)
