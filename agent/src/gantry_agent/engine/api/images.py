"""Images: list, inspect, history, tag, remove, prune, save, load, import."""

from typing import Any

from aiohttp import web

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.images import filters, views
from gantry_agent.engine.images.announce import announce
from gantry_agent.engine.images.filters import ImageFilter
from gantry_agent.engine.images.prune import prune_images
from gantry_agent.engine.images.removal import remove_image
from gantry_agent.engine.oci import Reference

from .routes import API_VERSION, Routes, filters_of, flag

routes = Routes()


def images_usage(engine: Engine, version: tuple[int, int] = (1, 47)) -> dict[str, Any]:
    """What /system/df says of images: LayersSize and Images."""
    found = views.usage(engine)
    return {**found, "Images": [_dated(each, version) for each in found["Images"]]}


@routes("GET", "/images/json")
async def list_images(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Every image, newest first."""
    found = filters_of(request, *filters.LIST)
    if old := request.query.get("filter"):  # before API 1.28
        found.setdefault("reference", []).append(old)
    images = views.summaries(
        engine,
        ImageFilter.of(found, engine.store),
        all_images=flag(request, "all"),
        with_sizes=flag(request, "shared-size"),
    )
    version = version_of(request)
    return web.json_response([_dated(each, version) for each in images])


@routes("GET", "/images/{name:.+}/json")
async def inspect_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """All that is known of one image."""
    found = views.inspect(engine, engine.store.images.get(request.match_info["name"]))
    version = version_of(request)
    if version < (1, 44):
        found["VirtualSize"] = found["Size"]
    if version < (1, 45):
        found["Container"] = ""
        found["ContainerConfig"] = dict(views.CONFIG_DEFAULTS)
    return web.json_response(found)


@routes("GET", "/images/{name:.+}/history")
async def image_history(engine: Engine, request: web.Request) -> web.StreamResponse:
    """The steps it was made in."""
    return web.json_response(views.history(engine, engine.store.images.get(request.match_info["name"])))


@routes("POST", "/images/{name:.+}/tag")
async def tag_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Another name for an image."""
    reference = target_of(request)
    if reference is None:
        raise InvalidArgument("invalid reference format")
    image = engine.store.images.get(request.match_info["name"])
    await engine.store.images.tag(image.id, reference)
    announce(engine, "tag", image, reference.familiar)
    return web.Response(status=201)


@routes("DELETE", "/images/{name:.+}")
async def delete_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove a name, and the image with its last one."""
    records = await remove_image(
        engine,
        request.match_info["name"],
        force=flag(request, "force"),
        prune_parents=not flag(request, "noprune"),
    )
    return web.json_response(records)


@routes("POST", "/images/prune")
async def prune(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Remove what nobody needs."""
    found = filters_of(request, *filters.PRUNE)
    return web.json_response(await prune_images(engine, ImageFilter.of(found, engine.store)))


def target_of(request: web.Request) -> Reference | None:
    """The name that `repo` and `tag` of the query give; None without `repo`. Raises InvalidArgument."""
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    if not repository:
        return None
    reference = Reference.parse(repository)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return reference.with_tag(tag) if tag else reference


def version_of(request: web.Request) -> tuple[int, int]:
    """The API version the client speaks."""
    major, _, minor = (request.match_info.get("api_version") or API_VERSION).partition(".")
    return int(major), int(minor)


def _dated(summary: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """An ImageSummary as older clients expect it."""
    if version < (1, 43) and not summary["RepoTags"] and not summary["RepoDigests"]:
        summary = {**summary, "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}
    if version < (1, 44):
        summary = {**summary, "VirtualSize": summary["Size"]}
    return summary
