"""Hosts and environments: the list, one host, adding, changing, removing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.db.models import Count
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field, StringConstraints

from controlplane.access.decide import fetch, require
from controlplane.access.giving import EVERYTHING
from controlplane.api.common import Body, Note, caller, environment_id, example
from controlplane.api.paging import Page, paged, query_of, searching
from controlplane.api.problems import Invalid
from hosts import actions, enrolment
from hosts.access import counted, get_host, seen_by
from hosts.access import environments as seen_environments
from hosts.filters import SORTS, HostFilter
from hosts.forms import AddHostForm, EnvironmentForm, HostForm
from hosts.models import Environment, Host

router = Router(tags=["hosts"])
environments = Router(tags=["environments"])


class HostOut(Schema):
    """One machine, as last observed."""

    id: int
    name: str
    environment: str | None
    labels: dict[str, Any]
    state: str
    state_since: datetime
    state_reason: str
    is_enrolled: bool
    last_seen_at: datetime | None
    observed_at: datetime | None
    agent_version: str
    engine: str
    engine_version: str
    os: str
    arch: str
    kernel: str
    cpus: int | None
    memory: int | None
    metrics: dict[str, Any]
    pull_limit: int
    containers: int
    running: int

    @staticmethod
    def resolve_environment(row: Host) -> str | None:
        return row.environment.slug if row.environment else None

    @staticmethod
    def resolve_engine(row: Host) -> str:
        return row.engine_kind

    @staticmethod
    def resolve_memory(row: Host) -> int | None:
        return row.memory_total

    @staticmethod
    def resolve_containers(row: Any) -> int:
        return int(row.container_count)

    @staticmethod
    def resolve_running(row: Any) -> int:
        return int(row.running_count)


class EnrolmentOut(Schema):
    """A new enrolment token, shown this once: the line to paste on the machine holds it."""

    host: HostOut
    token: str
    line: str


class EnvironmentOut(Schema):
    id: int
    name: str
    slug: str
    hosts: int

    @staticmethod
    def resolve_hosts(row: Any) -> int:
        return int(row.host_count)


Label = Annotated[str, StringConstraints(pattern=r"^[^\s=][^\s=]*$", max_length=200)]


class HostBody(Body):
    name: Annotated[str, Field(max_length=120)]
    environment: Annotated[str | None, Field(max_length=60, description="An environment's slug.")] = None
    labels: Annotated[dict[Label, Note], Field(max_length=64)] = {}


class HostChanges(Body):
    """What is left out stays as it is."""

    name: Annotated[str, Field(max_length=120)] = ""
    environment: Annotated[str | None, Field(max_length=60)] = None
    labels: Annotated[dict[Label, Note], Field(max_length=64)] = {}
    pull_limit: Annotated[int, Field(ge=1, le=32)] = 3


class EnvironmentBody(Body):
    name: Annotated[str, Field(max_length=60)]


HostQuery = query_of("HostQuery", HostFilter, SORTS, "name")


def _counted(request: HttpRequest) -> Any:
    return seen_by(request.user).annotate(
        container_count=counted(request.user, "container.see", "containers"),
        running_count=counted(request.user, "container.see", "containers", state="running"),
    )


def _shown(request: HttpRequest, host: Host) -> Host:
    found: Host = _counted(request).get(pk=host.pk)
    return found


def _as_form(request: HttpRequest, data: dict[str, Any]) -> dict[str, Any]:
    """As the page's form sends it: an environment by its id, labels as lines."""
    if data["environment"]:
        data["environment"] = environment_id(caller(request), "host.manage", data["environment"])
    data["labels"] = "\n".join(f"{name}={value}" for name, value in data["labels"].items())
    return data


@router.get("", response=Page[HostOut], operation_id="list_hosts")
def list_hosts(request: HttpRequest, query: Query[HostQuery]) -> Any:  # type: ignore[valid-type]
    """All hosts."""
    require(request.user, "host.see")
    return paged(request, HostFilter, _counted(request), query, sorts=SORTS)


@router.post(
    "",
    response={201: EnrolmentOut},
    operation_id="add_host",
    openapi_extra=example({"name": "edge-7", "labels": {"rack": "b2"}}),
)
def add_host(request: HttpRequest, body: HostBody) -> Any:
    """Keep a place for a host that will join; the answer holds the line to paste on it, once."""
    require(request.user, "host.manage")
    form = AddHostForm(_as_form(request, body.model_dump()), actor=request.user)
    if not form.is_valid():
        raise Invalid.of_form(form)
    return _enrolment(request, form.instance, actions.add_host(request, form.save(commit=False)))


def _enrolment(request: HttpRequest, host: Host, token: str) -> dict[str, Any]:
    # By id and not by what the caller sees: a host in no environment is beyond whoever manages only some.
    host.container_count = host.containers.count()  # type: ignore[attr-defined]
    host.running_count = host.containers.filter(state="running").count()  # type: ignore[attr-defined]
    return {"host": host, "token": token, "line": enrolment.pasted_line(request, token)}


@router.get("/{int:pk}", response=HostOut, operation_id="get_host")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One host."""
    return _shown(request, get_host(request.user, pk))


@router.patch(
    "/{int:pk}", response=HostOut, operation_id="change_host", openapi_extra=example({"labels": {"rack": "b3"}})
)
def change(request: HttpRequest, pk: int, body: HostChanges) -> Any:
    """Rename it, label it, put it into an environment, limit its pulls."""
    host = get_host(request.user, pk, "host.manage")
    kept = {
        "name": host.name,
        "environment": host.environment.slug if host.environment else None,
        "labels": host.labels,
        "pull_limit": host.pull_limit,
    }
    said = _as_form(request, kept | body.model_dump(exclude_unset=True))
    form = HostForm(said, instance=host, actor=request.user)
    if not form.is_valid():
        raise Invalid.of_form(form)
    if form.changed_data:
        actions.change_host(request, form.instance, form.changed_data)
    return _shown(request, host)


@router.post("/{int:pk}/token", response={201: EnrolmentOut}, operation_id="renew_enrolment")
def new_token(request: HttpRequest, pk: int) -> Any:
    """Another enrolment token: the first has expired, or the machine was replaced."""
    host = get_host(request.user, pk, "host.manage")
    return _enrolment(request, host, actions.issue_token(request, host))


@router.post("/{int:pk}/rotate", response={202: HostOut}, operation_id="rotate_key")
def rotate(request: HttpRequest, pk: int) -> Any:
    """Have it make a new key pair."""
    host = get_host(request.user, pk, "host.manage")
    actions.rotate_key(request, host)
    return _shown(request, host)


@router.delete("/{int:pk}", response={204: None}, operation_id="remove_host")
def remove(request: HttpRequest, pk: int) -> Any:
    """Forget it. What runs on it is not touched."""
    actions.remove_host(request, get_host(request.user, pk, "host.manage"))


def _environments(request: HttpRequest) -> Any:
    return seen_environments(request.user).annotate(host_count=Count("hosts"))


ENVIRONMENT_SORTS = {"position": ("position", "name"), "name": ("name",), "id": ("id",)}
EnvironmentFilter = searching(Environment, "name", "slug")
EnvironmentQuery = query_of("EnvironmentQuery", EnvironmentFilter, ENVIRONMENT_SORTS, "position")


@environments.get("", response=Page[EnvironmentOut], operation_id="list_environments")
def list_environments(request: HttpRequest, query: Query[EnvironmentQuery]) -> Any:  # type: ignore[valid-type]
    """The groups that hosts belong to."""
    require(request.user, "host.see")
    return paged(request, EnvironmentFilter, _environments(request), query, sorts=ENVIRONMENT_SORTS)


@environments.post(
    "",
    response={201: EnvironmentOut},
    operation_id="add_environment",
    openapi_extra=example({"name": "Edge sites"}),
)
def add_environment(request: HttpRequest, body: EnvironmentBody) -> Any:
    """A new group. Its slug comes from its name."""
    require(request.user, "host.manage", EVERYTHING)
    form = EnvironmentForm(body.model_dump())
    if not form.is_valid():
        raise Invalid.of_form(form)
    environment = form.save(commit=False)
    actions.add_environment(request, environment)
    return _environments(request).get(pk=environment.pk)


@environments.delete("/{int:pk}", response={204: None}, operation_id="remove_environment")
def remove_environment(request: HttpRequest, pk: int) -> Any:
    """Remove a group; its hosts stay."""
    found = fetch(request.user, "host.manage", Environment.objects.all(), see="host.see", pk=pk)
    require(request.user, "host.manage", EVERYTHING)
    actions.remove_environment(request, found)
