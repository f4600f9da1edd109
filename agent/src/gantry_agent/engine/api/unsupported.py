"""What Docker's API has and this engine does not: a clear 501 that names it, never a 404 that looks like a typo."""

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import NotFound, Unsupported

from .routes import Handler, Routes

routes = Routes()

SWARM = "this engine is no swarm: it has no {what}. It runs containers on one host"
MISSING = {
    "/swarm": SWARM.format(what="swarm mode"),
    "/nodes": SWARM.format(what="nodes"),
    "/services": SWARM.format(what="services"),
    "/tasks": SWARM.format(what="tasks"),
    "/secrets": SWARM.format(what="secrets"),
    "/configs": SWARM.format(what="configs"),
    "/plugins": "this engine has no plugins: its volume and network drivers are built in",
    "/session": "this engine has no BuildKit sessions: build with DOCKER_BUILDKIT=0",
    "/grpc": "this engine has no BuildKit: build with DOCKER_BUILDKIT=0",
    "/containers/{name}/checkpoints": "this engine makes no checkpoints",
}


@routes("GET", "/plugins/{name:.+}/json")
async def plugin(engine: Engine, request: web.Request) -> web.StreamResponse:
    """There are none: `docker inspect`, which asks for a plugin last, then says that nothing has the name."""
    raise NotFound(f'plugin "{request.match_info["name"]}" not found')


def _refusal(message: str) -> Handler:
    async def refuse(engine: Engine, request: web.Request) -> web.StreamResponse:
        raise Unsupported(message)

    return refuse


for _path, _message in MISSING.items():
    _refuse = _refusal(_message)
    routes("*", _path)(_refuse)
    routes("*", _path + "/{rest:.*}")(_refuse)
