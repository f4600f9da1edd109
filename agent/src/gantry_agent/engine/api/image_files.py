"""Images as archives: load, save, import."""

from collections.abc import AsyncIterator

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, InvalidArgument
from gantry_agent.engine.images.importing import ImportOptions, download, import_image
from gantry_agent.engine.images.load import load
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.images.save import Chosen, choose, save
from gantry_agent.engine.oci import Platform

from .images import target_of
from .progress import stream_progress
from .routes import Routes, flag

routes = Routes()
CHUNK = 256 << 10  # bytes


@routes("POST", "/images/load")
async def load_images(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Add the images of an archive; an error is the last line of the answer, never its status, as with Docker."""

    async def work(progress: Progress) -> None:
        try:
            await load(engine, _body(request), progress, quiet=flag(request, "quiet"))
        except EngineError as exc:
            progress.failed(exc.message)

    return await stream_progress(request, work)


@routes("GET", "/images/get")
async def save_images(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Several images as one archive."""
    names = [name for value in request.query.getall("names", []) for name in value.split(",") if name]
    if not names:
        raise InvalidArgument("no image was named")
    return await _send(engine, request, choose(engine, names))


@routes("GET", "/images/{name:.+}/get")
async def save_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """One image, or all tags of a repository, as an archive."""
    return await _send(engine, request, choose(engine, [request.match_info["name"]]))


async def import_from(engine: Engine, request: web.Request) -> web.StreamResponse:
    """POST /images/create?fromSrc=: the body (`-`), or what is at an address, becomes an image."""
    source = request.query["fromSrc"]
    platform = request.query.get("platform", "")
    options = ImportOptions(
        name=target_of(request),
        message=request.query.get("message", ""),
        changes=tuple(request.query.getall("changes", [])),
        platform=Platform.parse(platform) if platform else None,
    )

    async def work(progress: Progress) -> None:
        chunks = _body(request) if source == "-" else download(source)
        progress.message(await import_image(engine, chunks, options))

    return await stream_progress(request, work)


async def _send(engine: Engine, request: web.Request, chosen: list[Chosen]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
    await response.prepare(request)
    async for chunk in save(engine, chosen):
        await response.write(chunk)
    await response.write_eof()
    return response


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """The request's content in pieces."""
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk
