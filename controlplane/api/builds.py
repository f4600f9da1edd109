"""Builds and their definitions: what was built, starting one, building again, pushing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema
from pydantic import ConfigDict, Field, StringConstraints

from controlplane.access.decide import require
from controlplane.access.models import User
from controlplane.api import operations, streams
from controlplane.api.common import Body, Id, Line, Ref, accepted, caller, example, ip_of
from controlplane.api.door import only_reads
from controlplane.api.operations import OperationOut, OutputQuery
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.problems import Invalid
from controlplane.lib.errors import NotFound
from hosts.models import Host
from images.builds import actions, comparing, lint, pool
from images.builds.access import builds, credentials, names_seen, with_names
from images.builds.asked import UPLOAD
from images.builds.filters import SORTS, BuildFilter
from images.builds.forms import BuildForm
from images.builds.models import HEAVY, Build
from images.builds.views import get_build, names_of, other_of

router = Router(tags=["builds"])


class BuildOut(Schema):
    """One build: its operation, what it was asked, what it made."""

    id: Annotated[int, Field(description="That of its operation.")]
    title: str
    definition: str | None
    number: int
    trigger: str
    source: dict[str, Any]
    options: dict[str, Any]
    commit: str
    image_id: str
    tags: list[str]
    size: int | None
    operation: OperationOut

    @staticmethod
    def resolve_id(row: Build) -> int:
        return row.operation_id

    @staticmethod
    def resolve_definition(row: Build) -> str | None:
        return row.definition.slug if row.definition else None

    @staticmethod
    def resolve_source(row: Build) -> dict[str, Any]:
        return shown_source(row.source)


class BuildDetail(BuildOut):
    """With its Dockerfile, steps, layers and what lint had to say."""

    dockerfile: str
    failed_line: int | None
    stages: list[Any]
    steps: list[Any]
    layers: list[Any]
    warnings: list[Any]


def shown_source(source: dict[str, Any]) -> dict[str, Any]:
    """Without the text of the Dockerfile, which a list has no use for."""
    return {name: value for name, value in source.items() if name not in ("dockerfile", "upload")}


Name = Annotated[str, StringConstraints(max_length=60)]
Key = Annotated[str, StringConstraints(pattern=r"^[^\s=#][^\s=]*$", max_length=200)]


class BuildBody(Body):
    """A build: `dockerfile` typed, files of an `upload`, or `url` of a git repository; on one `host`, or the least busy
    of a `pool`."""

    kind: Literal["typed", "upload", "git"] = "typed"
    dockerfile: Annotated[str, Field(max_length=1024 * 1024)] = ""
    upload: Annotated[
        str, Field(max_length=32, description="The id of one that is whole: its files, or those beside a `dockerfile`.")
    ] = ""
    url: Annotated[str, Field(max_length=2000)] = ""
    ref: Annotated[str, Field(max_length=300)] = ""
    folder: Annotated[str, Field(max_length=1000)] = ""
    dockerfile_path: Annotated[str, Field(max_length=300)] = ""
    submodules: bool = False
    credential: Annotated[str | None, Field(max_length=60, description="Of the git server, by name.")] = None
    host: Id | None = None
    pool: Annotated[str, Field(max_length=60)] = ""
    tags: Annotated[list[Line], Field(max_length=50)] = []
    target: Annotated[str, Field(max_length=200)] = ""
    args: Annotated[dict[Key, Line], Field(max_length=200)] = {}
    platform: Annotated[str, Field(max_length=60)] = ""
    no_cache: bool = False
    pull: bool = False
    cache_from: Annotated[list[Line], Field(max_length=20)] = []
    secrets: Annotated[list[Name], Field(max_length=50, description="Credentials, by name.")] = []
    logins: Annotated[list[Name], Field(max_length=50, description="Credentials, by name.")] = []
    push: bool = False
    memory: Annotated[str, Field(max_length=40)] = ""
    cpus: Annotated[str, Field(max_length=40)] = ""
    minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 60

    def as_form(self, actor: User) -> dict[str, Any]:
        """As the page's form sends it, which then judges it."""
        data = self.model_dump(exclude={"host", "pool"})
        for name in ("tags", "cache_from"):
            data[name] = "\n".join(data[name])
        data["args"] = "\n".join(f"{name}={value}" for name, value in self.args.items())
        if self.kind == UPLOAD:
            data["folder_upload"] = data.pop("upload")
        data["minutes"] = str(self.minutes)
        data["where"] = f"host:{self.host}" if self.host else f"pool:{self.pool}"
        data |= chosen(actor, [self.credential] if self.credential else [], "credential", many=False)
        data |= chosen(actor, self.secrets, "secrets") | chosen(actor, self.logins, "logins")
        return {name: value for name, value in data.items() if value not in (None, False)}


def chosen(actor: User, names: list[str], field: str, *, many: bool = True) -> dict[str, Any]:
    """The ids of credentials, as the form has them. Raises Invalid for a name that is none of those one may use."""
    known = dict(credentials(actor).filter(name__in=names).values_list("name", "pk"))
    if unknown := [name for name in names if name not in known]:
        raise Invalid({field: [f"Expected a credential's name, found “{unknown[0]}”."]})
    ids = [known[name] for name in names]
    return {field: ids if many else next(iter(ids), None)}


class PoolOut(Schema):
    """Hosts of which the least busy builds."""

    name: str
    hosts: list[Ref]


class NamedCredential(Schema):
    name: str
    kind: str


class ChoicesOut(Schema):
    """Where one may build, and the credentials one may name."""

    hosts: list[Ref]
    pools: list[PoolOut]
    credentials: list[NamedCredential]


class LintBody(Body):
    dockerfile: Annotated[str, Field(max_length=1024 * 1024)]


class FindingOut(Schema):
    """`severity`: error (it will not build), warning, info."""

    line: int
    severity: str
    message: str


class LintOut(Schema):
    findings: list[FindingOut]


class ChangeOut(Schema):
    """A line of a difference. `kind`: same, added, removed, gap."""

    kind: str
    text: str


class DifferenceOut(Schema):
    """What one side and the other have under one name; null: nothing."""

    name: str
    before: Any
    after: Any


class ComparisonOut(Schema):
    """Two builds side by side: what differs in the Dockerfile and the options; every step and layer of either."""

    before: int
    after: int
    dockerfile: list[ChangeOut]
    options: list[DifferenceOut]
    steps: list[DifferenceOut]
    layers: list[DifferenceOut]


class CompareQuery(Schema):
    model_config = ConfigDict(extra="forbid")

    other: Annotated[Id | None, Field(description="A build's id; left out, the one before of the same kind.")] = None


BuildQuery = query_of("BuildQuery", BuildFilter, SORTS, "-id")
BUILD = {"host": 1, "dockerfile": "FROM alpine:3.20\nRUN date > /made\n", "tags": ["shop/web:dev-1"]}


def _shown(request: HttpRequest, found: list[Build]) -> list[Build]:
    """Without the names, the definitions and the operations around them that the caller does not see."""
    rows = with_names(request.user, found)
    operations.without_unseen(request, [build.operation for build in rows])
    for build in rows:
        build.tags = build.names  # type: ignore[attr-defined]
        build.options = options_seen(request, build.operation.host, build.options)
    return rows


def options_seen(request: HttpRequest, host: Host | None, options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "tags": names_seen(request.user, host, options.get("tags", []))}


@router.get("", response=Page[BuildOut], operation_id="list_builds")
def list_builds(request: HttpRequest, query: Query[BuildQuery]) -> Any:  # type: ignore[valid-type]
    """Every build, the newest first."""
    require(request.user, "image.see")
    rows = builds(request.user).select_related("operation__host", "definition")
    rows = rows.defer(*HEAVY, "layers", "operation__params")
    return paged(request, BuildFilter, rows, query, sorts=SORTS, rows=functools.partial(_shown, request))


@router.post("", response={202: OperationOut}, operation_id="start_build", openapi_extra=example(BUILD))
def start(request: HttpRequest, response: HttpResponse, body: BuildBody) -> Any:
    """Start a build of a Dockerfile that is sent, of files that were, or of a git repository."""
    require(request.user, "image.build")
    form = BuildForm(body.as_form(caller(request)), actor=caller(request))
    if not form.is_valid():
        raise Invalid.of_form(form)
    return accepted(response, actions.start(caller(request), form.source, form.options, ip=ip_of(request)))


@router.get("/choices", response=ChoicesOut, operation_id="get_build_choices")
def choices(request: HttpRequest) -> Any:
    """What a build can be asked with."""
    require(request.user, "image.build")
    pools = [{"name": name, "hosts": members} for name, members in pool.pools(request.user).items()]
    hosts = pool.builders(request.user)
    return {"hosts": hosts, "pools": pools, "credentials": credentials(request.user).order_by("name")}


@router.post(
    "/lint",
    response=LintOut,
    operation_id="lint_dockerfile",
    openapi_extra=example({"dockerfile": "FROM alpine:3.20\nRUN apk add curl\n"}),
)
@only_reads
def lint_dockerfile(request: HttpRequest, body: LintBody) -> Any:
    """What can be said of a Dockerfile before it is built, line by line. It keeps nobody from building."""
    require(request.user, "image.build")
    return {"findings": lint.lint(body.dockerfile) if body.dockerfile.strip() else []}


@router.get("/{int:pk}", response=BuildDetail, operation_id="get_build")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One build, by the id of its operation."""
    return _shown(request, [get_build(request, pk)])[0]


@router.get("/{int:pk}/output", operation_id="get_build_output", openapi_extra=streams.DESCRIBED)
def output(request: HttpRequest, pk: int, query: Query[OutputQuery]) -> HttpResponseBase:
    """What it has said, as its operation's output."""
    get_build(request, pk)
    return operations.get_output(request, pk, query)


@router.get("/{int:pk}/compare", response=ComparisonOut, operation_id="compare_builds")
def compare(request: HttpRequest, pk: int, query: Query[CompareQuery]) -> Any:
    """What it did otherwise than another build, or than the one before."""
    build = get_build(request, pk)
    other = other_of(request, build, query.other)
    if other is None:
        raise NotFound("There is no build before this one to compare it with.", "Name one: ?other=ID.")
    found = comparing.compare(other, build, names=names_of(request))
    return {
        "before": other.operation_id,
        "after": pk,
        "dockerfile": found.dockerfile,
        "options": _differences(found.options),
        "steps": _differences(found.steps),
        "layers": _differences(found.layers),
    }


def _differences(rows: Sequence[tuple[str, Any, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "before": before, "after": after} for name, before, after in rows]


@router.post("/{int:pk}/rebuild", response={202: OperationOut}, operation_id="rebuild")
def rebuild(request: HttpRequest, response: HttpResponse, pk: int) -> Any:
    """The same once more."""
    return accepted(response, actions.rebuild(caller(request), get_build(request, pk), ip=ip_of(request)))


@router.post("/{int:pk}/push", response={202: OperationOut}, operation_id="push_build")
def push(request: HttpRequest, response: HttpResponse, pk: int) -> Any:
    """Push what it made, under all its names."""
    return accepted(response, actions.push(caller(request), get_build(request, pk), ip=ip_of(request)))
