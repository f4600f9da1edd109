"""The engine itself: ping, version, info."""

import os
import platform

from aiohttp import web

from gantry_agent import __version__
from gantry_agent.engine.core import Engine

from .routes import API_VERSION, MIN_API_VERSION, Routes

routes = Routes()


@routes("GET", "/_ping")
@routes("HEAD", "/_ping")
async def ping(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Alive."""
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Builder-Version": "1"}
    return web.Response(text="OK", headers=headers)


@routes("GET", "/version")
async def version(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Who answers, and which versions of the API it speaks."""
    system = os.uname()
    return web.json_response(
        {
            "Platform": {"Name": "Gantry native engine"},
            "Components": [{"Name": "Engine", "Version": __version__, "Details": {"ApiVersion": API_VERSION}}],
            "Version": __version__,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "Os": "linux",
            "Arch": architecture(),
            "KernelVersion": system.release,
        }
    )


def architecture() -> str:
    """This machine's architecture in Go's words, as images name it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine, machine)
