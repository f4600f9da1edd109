"""Containers of all hosts: the list, one container, and what can be done to them."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from containers import actions
from containers.access import get_container, seen_by
from containers.change_forms import CommitForm, UpdateForm
from containers.duplicating import Copy, copy_container
from containers.filters import SORTS, ContainerFilter
from containers.forms import RenameForm
from containers.inspecting import Inspection, inspect_container
from containers.keeping import broken_by
from containers.models import Container
from containers.run_form import RunForm
from controlplane.access.decide import require
from controlplane.api.common import Body, Id, Line, Ref, accepted, caller, example, ip_of
from controlplane.api.door import only_reads
from controlplane.api.operations import OperationOut
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.problems import Invalid
from controlplane.operations.audit import audited

router = Router(tags=["containers"])

Verb = Literal["start", "stop", "restart", "kill", "pause", "unpause", "remove"]


class ContainerOut(Schema):
    """One container, as last observed."""

    id: int
    engine_id: str
    name: str
    image: str
    image_id: str
    host: Ref
    environment: str | None
    state: str
    health: str
    exit_code: int | None
    command: str
    ports: list[Any]
    labels: dict[str, Any]
    mounts: list[Any]
    networks: list[Any]
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    observed_at: datetime

    @staticmethod
    def resolve_image(row: Container) -> str:
        return row.image_ref

    @staticmethod
    def resolve_state(row: Container) -> str:
        return row.shown_state

    @staticmethod
    def resolve_environment(row: Container) -> str | None:
        return row.host.environment.slug if row.host.environment else None


class ViolationOut(Schema):
    """A rule of its environment that it breaks: at what, what was found, what is allowed."""

    field: str
    found: str
    allowed: str


class ContainerDetail(ContainerOut):
    """With the rules it breaks: until it keeps to them it is neither started nor entered."""

    breaks: list[ViolationOut]


class InspectionOut(Schema):
    """What the engine says now; `error` when it does not answer. `revealed`: the environment is in clear."""

    data: dict[str, Any]
    revealed: bool
    error: str
    hint: str


ContainerQuery = query_of("ContainerQuery", ContainerFilter, SORTS, "name")
Key = Annotated[str, StringConstraints(pattern=r"^[^\s=#][^\s=]*$", max_length=300)]

Word = Annotated[str, Field(max_length=4000)]


class RunBody(Body):
    """A container to be run; what is left out is as the engine has it."""

    host: Id
    image: Annotated[str, Field(max_length=1000)]
    name: Annotated[str, Field(max_length=250)] = ""
    start: bool = True
    pull: Annotated[bool, Field(description="Ask the registry also when the host has the image.")] = False
    command: Annotated[list[Word], Field(max_length=200)] = []
    entrypoint: Annotated[list[Word], Field(max_length=200, description='[""] takes the image’s own away.')] = []
    user: Annotated[str, Field(max_length=120)] = ""
    working_dir: Annotated[str, Field(max_length=4000)] = ""
    environment: Annotated[dict[Key, Line], Field(max_length=500)] = {}
    labels: Annotated[dict[Key, Line], Field(max_length=500)] = {}
    ports: Annotated[list[Line], Field(max_length=200, description="As for docker: 127.0.0.1:8080:80/tcp")] = []
    volumes: Annotated[list[Line], Field(max_length=200, description="As for docker: data:/srv:ro")] = []
    network: Annotated[str, Field(max_length=250)] = ""
    restart: Literal["no", "on-failure", "unless-stopped", "always"] = "no"
    retries: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None
    memory: Annotated[str, Field(max_length=40, description="512m, 1.5g")] = ""
    cpus: Annotated[str, Field(max_length=40, description="0.5, 2")] = ""
    pids: Annotated[int | None, Field(ge=1, le=2**22, description="Processes at most")] = None
    read_only: bool = False
    tty: bool = False
    auto_remove: bool = False
    registry_user: Annotated[str, Field(max_length=250)] = ""
    registry_password: Annotated[str, Field(max_length=4000)] = ""

    def as_form(self) -> dict[str, Any]:
        """As the page's form sends it, which then judges it."""
        data = self.model_dump(exclude={"start", "command", "entrypoint"})
        for name in ("environment", "labels"):
            data[name] = "\n".join(f"{key}={value}" for key, value in data[name].items())
        for name in ("ports", "volumes"):
            data[name] = "\n".join(data[name])
        data["command"], data["entrypoint"] = shlex.join(self.command), shlex.join(self.entrypoint)
        return {name: value for name, value in data.items() if value not in (None, False)}


class DoBody(Body):
    """Which containers. `force` and `volumes` are for remove: kill first; their anonymous volumes too."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]
    force: bool = False
    volumes: bool = False


class RemoveBody(Body):
    force: bool = False
    volumes: bool = False


class RenameBody(Body):
    name: Annotated[str, Field(max_length=250)]


class UpdateBody(Body):
    """What is left out stays as it is. An empty limit is none; of memory and CPUs engines take none away."""

    memory: Annotated[str | None, Field(max_length=40, description="512m, 1.5g")] = None
    cpus: Annotated[str | None, Field(max_length=40, description="0.5, 2")] = None
    pids: Annotated[int | None, Field(ge=0, le=2**22, description="Processes at most; 0 for no limit")] = None
    restart: Literal["no", "on-failure", "unless-stopped", "always"] | None = None
    retries: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None

    def as_form(self) -> dict[str, Any]:
        """As the page's form sends it: what is there is asked for."""
        found = {name: value for name, value in self.model_dump().items() if value is not None}
        return found | ({"pids": ""} if found.get("pids") == 0 else {})


class CommitBody(Body):
    """What to call the image. `changes`: instructions as in a Dockerfile (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD,
    USER, VOLUME, WORKDIR)."""

    reference: Annotated[str, Field(max_length=1000)]
    comment: Annotated[str, Field(max_length=500)] = ""
    author: Annotated[str, Field(max_length=200)] = ""
    changes: Annotated[list[Line], Field(max_length=100)] = []
    pause: Annotated[bool, Field(description="Takes the right container.stop.")] = True

    def as_form(self) -> dict[str, Any]:
        data = self.model_dump(exclude={"pause", "changes"})
        return {**data, "changes": "\n".join(self.changes), **({"pause": "on"} if self.pause else {})}


class DuplicateQuery(Schema):
    model_config = ConfigDict(extra="forbid")

    secrets: Annotated[bool, Field(description="With the values of its variables: takes container.secrets.")] = False


class DuplicateOut(Schema):
    """`run`: a body for run_container; null when the host does not answer, which `error` says. `left_out`: what that
    body cannot say, each in words."""

    run: RunBody | None
    left_out: list[str]
    error: str
    hint: str


@router.get("", response=Page[ContainerOut], operation_id="list_containers")
def list_containers(request: HttpRequest, query: Query[ContainerQuery]) -> Any:  # type: ignore[valid-type]
    """Containers of all hosts."""
    require(request.user, "container.see")
    return paged(request, ContainerFilter, seen_by(request.user), query, sorts=SORTS)


@router.post(
    "",
    response={202: OperationOut},
    operation_id="run_container",
    openapi_extra=example({"host": 1, "image": "nginx:1.27", "name": "web", "ports": ["8080:80"]}),
)
def run_container(request: HttpRequest, response: HttpResponse, body: RunBody) -> Any:
    """Create a container, and start it unless told not to. The operation's result has its id on the host."""
    require(request.user, "container.create")
    form = RunForm(body.as_form(), actor=request.user, starts=body.start)
    if not form.is_valid():
        raise Invalid.of_form(form)
    operation = actions.run(
        caller(request),
        form.cleaned_data["host"],
        reference=form.cleaned_data["image"],
        name=form.cleaned_data["name"],
        body=form.spec().body(),
        start=body.start,
        pull=form.cleaned_data["pull"],
        login=form.login,
        ip=ip_of(request),
    )
    return accepted(response, operation)


@router.post(
    "/do/{verb}",
    response={202: OperationOut},
    operation_id="do_to_containers",
    openapi_extra=example({"ids": [1]}),
)
def do_to_containers(request: HttpRequest, response: HttpResponse, verb: Verb, body: DoBody) -> Any:
    """Do one thing to several containers. One that is not seen, or that it does not fit, breaks off the whole."""
    chosen = actions.VERBS[verb]
    selected = [get_container(request.user, pk, chosen.permission) for pk in dict.fromkeys(body.ids)]
    return accepted(response, _do(request, chosen, selected, force=body.force, volumes=body.volumes))


def _do(request: HttpRequest, verb: actions.Verb, selected: list[Container], **flags: bool) -> Any:
    actions.refuse_unfit(verb, selected, all_of_them=True)
    params = {name: True for name, wanted in flags.items() if wanted and verb.name == "remove"}
    return actions.act(caller(request), verb, selected, ip=ip_of(request), **params)


@router.get("/{int:pk}", response=ContainerDetail, operation_id="get_container")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One container."""
    container = get_container(request.user, pk)
    container.breaks = broken_by(container)  # type: ignore[attr-defined]
    return container


@router.get("/{int:pk}/inspect", response=InspectionOut, operation_id="inspect_container")
def inspect(request: HttpRequest, pk: int) -> Any:
    """What its engine says of it now, with the values of its environment masked."""
    return _inspected(inspect_container(get_container(request.user, pk), reveal=False))


@router.post("/{int:pk}/reveal", response=InspectionOut, operation_id="reveal_container")
@only_reads
def reveal(request: HttpRequest, response: HttpResponse, pk: int) -> Any:
    """The same with its environment in clear; who looked is written down."""
    container = get_container(request.user, pk, "container.secrets")
    audited(request, request.user, "container.secrets", container, detail="revealed the environment")
    response["Cache-Control"] = "no-store"
    return _inspected(inspect_container(container, reveal=True))


def _inspected(found: Inspection) -> dict[str, Any]:
    return {"data": found.data, "revealed": found.revealed, "error": found.error, "hint": found.hint}


@router.post(
    "/{int:pk}/rename",
    response={202: OperationOut},
    operation_id="rename_container",
    openapi_extra=example({"name": "web-2"}),
)
def rename(request: HttpRequest, response: HttpResponse, pk: int, body: RenameBody) -> Any:
    """Give it another name."""
    container = get_container(request.user, pk, "container.update")
    form = RenameForm(body.model_dump())
    if not form.is_valid():
        raise Invalid.of_form(form)
    operation = actions.rename(caller(request), container, form.cleaned_data["name"], ip=ip_of(request))
    return accepted(response, operation)


@router.post(
    "/{int:pk}/update",
    response={202: OperationOut},
    operation_id="update_container",
    openapi_extra=example({"memory": "512m", "cpus": "1.5", "restart": "unless-stopped"}),
)
def update(request: HttpRequest, response: HttpResponse, pk: int, body: UpdateBody) -> Any:
    """Give it other limits or another restart policy; nothing is restarted."""
    container = get_container(request.user, pk, "container.update")
    form = UpdateForm(body.as_form(), container=container)
    if not form.is_valid():
        raise Invalid.of_form(form)
    return accepted(response, actions.update(caller(request), container, form.changes, ip=ip_of(request)))


@router.post(
    "/{int:pk}/commit",
    response={202: OperationOut},
    operation_id="commit_container",
    openapi_extra=example({"reference": "shop/web:dev-2", "changes": ["ENV MODE=prod"]}),
)
def commit(request: HttpRequest, response: HttpResponse, pk: int, body: CommitBody) -> Any:
    """Make an image of it as it is. The operation's result has the image's id and name."""
    container = get_container(request.user, pk, "container.files")
    form = CommitForm(body.as_form())
    if not form.is_valid():
        raise Invalid.of_form(form)
    operation = actions.commit(caller(request), container, ip=ip_of(request), **form.cleaned_data)
    return accepted(response, operation)


@router.get("/{int:pk}/duplicate", response=DuplicateOut, operation_id="duplicate_container")
def duplicate(request: HttpRequest, response: HttpResponse, pk: int, query: Query[DuplicateQuery]) -> Any:
    """What to send to run_container for another one like it."""
    container = get_container(request.user, pk, "container.create")
    require(request.user, "image.run", container)
    if query.secrets:
        require(request.user, "container.secrets", container)
        audited(
            request, request.user, "container.secrets", container, detail="revealed the environment to duplicate it"
        )
    response["Cache-Control"] = "no-store"
    copy = copy_container(request.user, container, reveal=query.secrets)
    run, too_much = _run_body(container, copy)
    told = {"left_out": [*copy.left_out, *too_much], "error": copy.error, "hint": copy.hint}
    return {"run": None if copy.error else run, **told}


def _run_body(container: Container, copy: Copy) -> tuple[dict[str, Any], list[str]]:
    """The body, and in words what is longer than one may be."""
    fields = {name: value for name, value in asdict(copy).items() if name in RunBody.model_fields}
    taken_away = copy.entrypoint == []
    fields |= {"host": container.host_id, "entrypoint": [""] if taken_away else copy.entrypoint or []}
    for name in ("environment", "labels"):
        fields[name] = dict(each.partition("=")[::2] for each in fields[name])
    try:
        RunBody.model_validate(fields)
    except ValidationError as exc:
        odd = sorted({str(each["loc"][0]) for each in exc.errors()})
        kept = {name: value for name, value in fields.items() if name not in odd}
        return kept, [f"{name}: more than a request may hold" for name in odd]
    return fields, []


@router.delete("/{int:pk}", response={202: OperationOut}, operation_id="remove_container")
def remove(request: HttpRequest, response: HttpResponse, pk: int, query: Query[RemoveBody]) -> Any:
    """Remove it. `force` kills it first, `volumes` takes its anonymous volumes too."""
    container = get_container(request.user, pk, "container.remove")
    flags = query.model_dump()
    return accepted(response, _do(request, actions.VERBS["remove"], [container], **flags))


@router.post("/{int:pk}/{verb}", response={202: OperationOut}, operation_id="do_to_container")
def do(
    request: HttpRequest,
    response: HttpResponse,
    pk: int,
    verb: Literal["start", "stop", "restart", "kill", "pause", "unpause"],
) -> Any:
    """Start, stop, restart, kill, pause or unpause it."""
    chosen = actions.VERBS[verb]
    return accepted(response, _do(request, chosen, [get_container(request.user, pk, chosen.permission)]))
