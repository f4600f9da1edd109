"""POST /build and the build cache."""

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from gantry_agent.engine.builder.build import build
from gantry_agent.engine.builder.options import DOCKERFILE, BuildOptions
from gantry_agent.engine.builder.pruning import prune
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument, Unsupported
from gantry_agent.engine.images.moments import moment_of
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.oci import Platform, Reference
from gantry_agent.engine.registry.credentials import Credentials

from .progress import stream_progress
from .routes import Routes, filters_of, flag, number

routes = Routes()
CHUNK = 256 << 10  # bytes
BUILDKIT = "2"
LIMITS = {
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CpuShares",
    "cpuperiod": "CpuPeriod",
    "cpuquota": "CpuQuota",
    "shmsize": "ShmSize",
}
TENANT, SECRETS = "X-Gantry-Tenant", "X-Gantry-Build-Secrets"


@routes("POST", "/build")
async def build_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Build from the tar in the body, or what `remote` names; the output as it happens."""
    options = options_of(request)

    async def work(progress: Progress) -> None:
        await build(engine, _body(request), options, progress)

    return await stream_progress(request, work)


@routes("POST", "/build/prune")
async def prune_builds(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Forget what builds kept; `keep-storage` leaves so many bytes, `all` takes cache mounts too."""
    filters = filters_of(request, "until", "id", "label", "label!", "inuse", "private", "shared", "type", "unused-for")
    until = [moment_of(each) for each in (*filters.get("until", ()), *filters.get("unused-for", ()))]
    keep = number(request, "keep-storage") or number(request, "reserved-space") or 0
    before = min(until) if until else None
    gone, freed = await prune(engine, before=before, keep=keep, with_caches=flag(request, "all"))
    return web.json_response({"CachesDeleted": gone, "SpaceReclaimed": freed})


def options_of(request: web.Request) -> BuildOptions:
    """The query and the headers. Raises InvalidArgument, Unsupported."""
    query = request.query
    if query.get("version") == BUILDKIT:
        raise Unsupported("this engine has no BuildKit sessions: build with DOCKER_BUILDKIT=0")
    if flag(request, "squash"):
        raise Unsupported("squash is not supported by this engine: one layer an instruction is kept")
    platform = query.get("platform", "")
    return BuildOptions(
        names=tuple(_name(each) for each in query.getall("t", []) if each),
        dockerfile=query.get("dockerfile") or DOCKERFILE,
        remote=query.get("remote", ""),
        target=query.get("target", ""),
        args=_map(query, "buildargs", nullable=True),
        labels=_map(query, "labels"),
        cache_from=_list(query, "cachefrom"),
        tenant=request.headers.get(TENANT, ""),
        uses_cache=not flag(request, "nocache"),
        pulls=flag(request, "pull"),
        keeps_containers=not flag(request, "rm", default=True) and not flag(request, "forcerm"),
        is_quiet=flag(request, "q"),
        platform=Platform.parse(platform) if platform else None,
        limits=_limits(request),
        secrets=_secrets(request.headers.get(SECRETS, "")),
        credentials=_credentials(request.headers.get("X-Registry-Config", "")),
    )


def _name(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidArgument(f"invalid tag {text!r}: a build cannot be named by a digest")
    return reference


def _limits(request: web.Request) -> dict[str, Any]:
    """What RUN's containers are given of HostConfig."""
    query = request.query
    found: dict[str, Any] = {}
    for name, field in LIMITS.items():
        if value := number(request, name):
            found[field] = value
    for name, field in (("cpusetcpus", "CpusetCpus"), ("cpusetmems", "CpusetMems"), ("cgroupparent", "CgroupParent")):
        if query.get(name):
            found[field] = query[name]
    if mode := query.get("networkmode", ""):
        found["NetworkMode"] = mode
    if hosts := query.get("extrahosts", ""):
        found["ExtraHosts"] = _list(query, "extrahosts") if hosts.startswith("[") else hosts.split(",")
    if ulimits := _json(query, "ulimits", list):
        found["Ulimits"] = ulimits
    if options := query.getall("securityopt", []):
        found["SecurityOpt"] = [each for text in options for each in (json.loads(text) if text[:1] == "[" else [text])]
    return found


def _map(query: Mapping[str, str], name: str, *, nullable: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = _json(query, name, dict) or {}
    for value in found.values():
        if not isinstance(value, str) and not (nullable and value is None):
            raise InvalidArgument(f"{name} must be a JSON object of strings")
    return found


def _list(query: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = _json(query, name, list) or []
    if not all(isinstance(each, str) for each in found):
        raise InvalidArgument(f"{name} must be a JSON list of strings")
    return tuple(found)


def _json(query: Mapping[str, str], name: str, kind: type) -> Any:
    text = query.get(name, "")
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{name} is not JSON: {exc}") from exc
    if found is not None and not isinstance(found, kind):
        raise InvalidArgument(f"{name} must be a JSON {'object' if kind is dict else 'list'}")
    return found


def _header(text: str, name: str) -> dict[str, Any]:
    """A header that is base64 (either alphabet) of a JSON object. Raises InvalidArgument."""
    if not text.strip():
        return {}
    try:
        plain = re.sub(r"\s|=", "", text).replace("-", "+").replace("_", "/")
        found = json.loads(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"invalid {name} header: it is not base64 of a JSON object") from exc
    if not isinstance(found, dict):
        raise InvalidArgument(f"invalid {name} header: it is not a JSON object")
    return found


def _credentials(text: str) -> dict[str, Credentials]:
    found = _header(text, "X-Registry-Config")
    return {name: Credentials.of_json(value) for name, value in found.items() if isinstance(value, dict)}


def _secrets(text: str) -> dict[str, bytes]:
    """By id, each base64 of its bytes."""
    try:
        return {name: base64.b64decode(value, validate=True) for name, value in _header(text, SECRETS).items()}
    except (binascii.Error, TypeError, ValueError) as exc:
        raise InvalidArgument(f"invalid {SECRETS} header: every value must be base64") from exc


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """The request's content in pieces."""
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk
