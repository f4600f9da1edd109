"""A container's files over the API: docker cp, export, diff, commit."""

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from gantry_agent.engine.containers import wire
from gantry_agent.engine.containers.commit import CommitOptions, commit, paused
from gantry_agent.engine.containers.files import (
    check_writable,
    lowers_of,
    root_of,
    upper_of,
    view_of,
)
from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, InvalidArgument, NotFound
from gantry_agent.engine.images.layer import limits_of
from gantry_agent.engine.layers import archive
from gantry_agent.engine.layers.changes import changes
from gantry_agent.engine.layers.pack import View, pack_tree
from gantry_agent.engine.oci import Reference

from .routes import Routes, body_of, flag

routes = Routes()

STAT_HEADER = "X-Docker-Container-Path-Stat"


@routes("HEAD", "/containers/{name}/archive")
async def stat(engine: Engine, request: web.Request) -> web.StreamResponse:
    """What lies at a path, in a header."""
    container, path = _container(engine, request), _path(request)
    async with engine.containers.roots.view(container) as merged:
        return web.Response(headers={STAT_HEADER: await _stat(request, _view(engine, container, merged), path)})


@routes("GET", "/containers/{name}/archive")
async def read(engine: Engine, request: web.Request) -> web.StreamResponse:
    """The tar of a path."""
    container, path = _container(engine, request), _path(request)
    async with engine.containers.roots.view(container) as merged:
        view = _view(engine, container, merged)
        headers = {STAT_HEADER: await _stat(request, view, path)}
        engine.containers.tell(container, "archive-path")
        return await _stream(request, archive.read_path(view, path), headers)


@routes("PUT", "/containers/{name}/archive")
async def write(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Merge a tar into a folder."""
    container, path = _container(engine, request), _path(request)
    check_writable(container, path)
    user = str(container.config.get("User") or "") if flag(request, "copyUIDGID") else ""
    async with engine.containers.roots.view(container) as merged:
        view = _view(engine, container, merged)
        try:
            await archive.write_path(
                view,
                path,
                request.content.iter_any(),
                limits=limits_of(engine.config),
                keeps_kinds=flag(request, "noOverwriteDirNonDir"),
                user=user,
            )
        except NotFound as exc:
            raise _named(exc, request) from exc
    engine.containers.tell(container, "extract-to-dir")
    return web.Response()


@routes("GET", "/containers/{name}/export")
async def export(engine: Engine, request: web.Request) -> web.StreamResponse:
    """The tar of the container's own files, without volumes."""
    container = _container(engine, request)
    async with engine.containers.roots.view(container) as merged:
        engine.containers.tell(container, "export")
        return await _stream(request, pack_tree(root_of(merged)), {})


@routes("GET", "/containers/{name}/changes")
async def diff(engine: Engine, request: web.Request) -> web.StreamResponse:
    """What the container changed in its image."""
    container = _container(engine, request)
    links = engine.store.images.stack(container.image_id)
    found = await changes(upper_of(engine.layout, container), lowers_of(engine.layout, container, links))
    return web.json_response([{"Path": path, "Kind": kind} for kind, path in found])


@routes("POST", "/commit")
async def make_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """An image of the container as it is."""
    container = engine.containers.get(request.query.get("container", ""))
    name, config = _reference(request), await body_of(request)
    wire.check_config(config)
    options = CommitOptions(
        name=name,
        author=request.query.get("author", ""),
        comment=request.query.get("comment", ""),
        changes=request.query.getall("changes", []),
        config=config or None,
    )
    async with paused(engine, container) if flag(request, "pause", True) else nullcontext():
        image_id = await commit(engine, container, options)
        shown = name.familiar if name else ""
        engine.containers.tell(container, "commit", comment=options.comment, imageID=image_id, imageRef=shown)
    return web.json_response({"Id": image_id}, status=201)


def _container(engine: Engine, request: web.Request) -> Container:
    return engine.containers.get(request.match_info["name"])


def _view(engine: Engine, container: Container, merged: Path) -> View:
    return view_of(container, merged, engine.networks.files(container) if container.state.started_at else {})


def _path(request: web.Request) -> str:
    path = request.query.get("path", "")
    if not path or "\0" in path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    return path


def _reference(request: web.Request) -> Reference | None:
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    if not repository:
        return None
    return Reference.parse(f"{repository}:{tag}" if tag else repository)


async def _stat(request: web.Request, view: View, path: str) -> str:
    """The header's value."""
    try:
        found = await archive.stat_path(view, path)
    except NotFound as exc:
        raise _named(exc, request) from exc
    seconds, nanoseconds = divmod(int(found["mtime"]), 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    found["mtime"] = f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}".rstrip("0").rstrip(".") + "Z"
    for name in ("name", "linkTarget"):
        found[name] = found[name].encode(errors="surrogateescape").decode(errors="replace")
    return base64.b64encode(json.dumps(found).encode()).decode()


async def _stream(
    request: web.Request, chunks: AsyncGenerator[bytes, None], headers: dict[str, str]
) -> web.StreamResponse:
    """A tar as it is made. What fails before the first byte is an error, later the connection breaks off."""
    async with aclosing(chunks):
        first = await anext(chunks, b"")
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar", **headers})
        await response.prepare(request)
        await response.write(first)
        try:
            async for chunk in chunks:
                await response.write(chunk)
        except EngineError:
            # The end of a chunked body must not look whole.
            if request.transport:
                request.transport.abort()
            raise
        await response.write_eof()
    return response


def _named(exc: NotFound, request: web.Request) -> NotFound:
    return NotFound(f"{exc.message} in container {request.match_info['name']}")
