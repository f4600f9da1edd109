"""Registries over the API: pull, push, login, search, and what a registry says of an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, Forbidden, Internal, InvalidArgument, Unauthorized, Unavailable
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.images.pull import pull, pull_all
from gantry_agent.engine.images.push import push
from gantry_agent.engine.oci import ImageConfig, Index, Platform, Reference
from gantry_agent.engine.oci.documents import parse
from gantry_agent.engine.registry import ANONYMOUS, Credentials
from gantry_agent.engine.registry.sources import Sources

from .image_files import import_from
from .progress import stream_progress
from .routes import Routes, body_of, filters_of, number

routes = Routes()

SEARCH_LIMIT = 25
MOST_FOUND = 100


@routes("POST", "/images/create")
async def create_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Pull (fromImage) or import (fromSrc)."""
    if request.query.get("fromImage"):
        return await _pull_image(engine, request)
    if request.query.get("fromSrc"):
        return await import_from(engine, request)
    raise InvalidArgument("either fromImage or fromSrc is needed: the name to pull, or where to import from")


async def _pull_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    name, tag = request.query.get("fromImage", ""), request.query.get("tag", "")
    platform = _platform(request.query.get("platform", ""))
    credentials = _forgiving(request.headers.get("X-Registry-Auth", ""))
    reference = Reference.parse(name)
    if tag.startswith("sha256:"):
        reference = Reference.parse(f"{reference.name}@{tag}")
    elif tag:
        reference = reference.with_tag(tag)
    work = pull if tag or _says_which(name) else pull_all
    with _as_docker():
        return await stream_progress(request, lambda progress: work(engine, reference, platform, credentials, progress))


@routes("POST", "/images/{name:.+}/push")
async def push_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Push one tag, or without one every tag of the repository."""
    name, tag = request.match_info["name"], request.query.get("tag", "")
    header = request.headers.get("X-Registry-Auth", "")
    # Without the header Docker pushes as nobody since version 25; docker-py sends none when it knows none.
    credentials = Credentials.of_header(header) if header else ANONYMOUS
    reference = Reference.parse(name)
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference")
    reference = reference.with_tag(tag) if tag else reference

    async def work(progress: Progress) -> None:
        await push(engine, reference, credentials, progress, all_tags=not tag and not _says_which(name))

    return await stream_progress(request, work)


@routes("POST", "/auth")
async def login(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Check credentials with their registry."""
    credentials = Credentials.of_json(await body_of(request))
    with _as_docker((Unavailable,)):
        token = await engine.registry.login(credentials)
    return web.json_response({"Status": "Login Succeeded", "IdentityToken": token})


@routes("GET", "/distribution/{name:.+}/json")
async def distribution(engine: Engine, request: web.Request) -> web.StreamResponse:
    """What the registry has under a name: descriptor and platforms; nothing is pulled."""
    reference = Reference.parse(request.match_info["name"])
    credentials = _forgiving(request.headers.get("X-Registry-Auth", ""))
    sources = Sources(engine.registry.repositories(reference, credentials))
    with _as_docker():
        fetched = await sources.manifest(reference.digest or reference.tag)
        document = parse(fetched.content, fetched.media_type)
        if isinstance(document, Index):
            platforms = [each.platform for each in document.manifests if each.platform]
        else:
            config = ImageConfig.parse(await sources.small_blob(document.config.digest, document.config.size))
            platforms = [config.platform]
    descriptor = {"mediaType": document.media_type, "digest": fetched.digest, "size": len(fetched.content)}
    return web.json_response({"Descriptor": descriptor, "Platforms": [_platform_json(each) for each in platforms]})


@routes("GET", "/images/search")
async def search(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Search Docker Hub, or another registry that has its search (`HOST/term`)."""
    term = request.query.get("term", "")
    limit = number(request, "limit", 0) or SEARCH_LIMIT
    if not 1 <= limit <= MOST_FOUND:
        raise InvalidArgument(f"Limit {limit} is outside the range of [1, {MOST_FOUND}]")
    wanted = filters_of(request, "is-automated", "is-official", "stars")
    credentials = _forgiving(request.headers.get("X-Registry-Auth", ""))
    with _as_docker():
        found = await engine.registry.search(term, limit, credentials)
    return web.json_response([each for each in map(_search_result, found) if _is_wanted(each, wanted)])


@contextmanager
def _as_docker(kinds: tuple[type[EngineError], ...] = (Unauthorized, Forbidden, Unavailable)) -> Iterator[None]:
    """What a registry refused, or that it is away, is 500 with Docker: clients take 401 and 503 for the engine's own
    words, and `docker pull` would ask for a password."""
    try:
        yield
    except kinds as exc:
        raise Internal(exc.message) from exc


def _search_result(found: dict[str, Any]) -> dict[str, Any]:
    stars = found.get("star_count")
    return {
        "star_count": stars if isinstance(stars, int) else 0,
        "is_official": bool(found.get("is_official")),
        "name": str(found.get("name") or ""),
        "is_automated": bool(found.get("is_automated")),
        "description": str(found.get("description") or ""),
    }


def _is_wanted(found: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    """Whether a result passes the filters. Raises InvalidArgument for a value that is none."""
    for name in ("is-automated", "is-official"):
        for value in wanted.get(name, []):
            if value.lower() not in ("true", "false", "1", "0"):
                raise InvalidArgument(f"invalid filter '{name}={value}'")
            if found[name.replace("-", "_")] != (value.lower() in ("true", "1")):
                return False
    for value in wanted.get("stars", []):
        if not value.isascii() or not value.isdigit():
            raise InvalidArgument(f"invalid filter 'stars={value}'")
        if found["star_count"] < int(value):
            return False
    return True


def _platform(text: str) -> Platform | None:
    return Platform.parse(text) if text else None


def _platform_json(platform: Platform) -> dict[str, str]:
    found = {"architecture": platform.architecture, "os": platform.os}
    return {**found, "variant": platform.variant} if platform.variant else found


def _forgiving(header: str) -> Credentials:
    """As Docker has read the header since 23.0: what is missing or not understood is nobody."""
    try:
        return Credentials.of_header(header)
    except InvalidArgument:
        return ANONYMOUS


def _says_which(name: str) -> bool:
    """Whether a name has a tag or a digest of its own."""
    return "@" in name or ":" in name.rpartition("/")[2]
