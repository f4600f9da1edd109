"""The engine itself: ping, version, info, disk use."""

import asyncio
import os
from typing import Any

from aiohttp import web

from gantry_agent import __version__
from gantry_agent.engine import host
from gantry_agent.engine.builder import pruning
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.facts import engine_facts

from .containers import containers_usage
from .images import images_usage, version_of
from .routes import API_VERSION, MIN_API_VERSION, Routes
from .volumes import volumes_usage

routes = Routes()

PARTS = ("crun", "runc", "conmon", "aardvark-dns")
"""Programs of the distribution that this engine uses; /version names those that are installed."""
USAGE = ("container", "image", "volume", "build-cache")


@routes("GET", "/_ping")
@routes("HEAD", "/_ping")
async def ping(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Alive. Builder-Version 1: no BuildKit here."""
    headers = {
        "Builder-Version": "1",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Docker-Experimental": "false",
        "Pragma": "no-cache",
        "Swarm": "inactive",
    }
    return web.Response(text="OK", headers=headers)


@routes("GET", "/version")
async def version(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Who answers, which versions of the API it speaks, and of which parts it is made."""
    common = {"Os": "linux", "Arch": host.architecture(), "KernelVersion": os.uname().release}
    details = {"ApiVersion": API_VERSION, "MinAPIVersion": MIN_API_VERSION, "Experimental": "false", **common}
    versions = await asyncio.gather(*(host.version_of(part) for part in PARTS))
    parts = [
        {"Name": name, "Version": found, "Details": {}} for name, found in zip(PARTS, versions, strict=True) if found
    ]
    return web.json_response(
        {
            "Platform": {"Name": "Gantry native engine"},
            "Components": [{"Name": "Engine", "Version": __version__, "Details": details}, *parts],
            "Version": __version__,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "BuildTime": "",
            **common,
        }
    )


@routes("GET", "/info")
async def info(engine: Engine, request: web.Request) -> web.StreamResponse:
    """What this host is, what runs on it, and how it is configured."""
    return web.json_response(await engine_facts(engine))


@routes("GET", "/system/df")
async def disk_use(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Disk use by images, containers and volumes, or only of the kinds that `type` names."""
    kinds = request.query.getall("type", USAGE)
    if unknown := set(kinds) - set(USAGE):
        raise InvalidArgument(f"unknown object type: {', '.join(sorted(unknown))}")
    found: dict[str, Any] = {}
    if "image" in kinds:
        found |= images_usage(engine, version_of(request))
    if "container" in kinds:
        found["Containers"] = await containers_usage(engine)
    if "volume" in kinds:
        found["Volumes"] = await volumes_usage(engine)
    if "build-cache" in kinds:
        found |= {"BuildCache": pruning.usage(engine), "BuilderSize": pruning.size(engine)}
    return web.json_response(found)
