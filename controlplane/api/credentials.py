"""Credentials of builds: what one holds comes in, and is never given out."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Annotated, Any, Literal

import django_filters
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.decide import allows, require
from controlplane.api.common import Body, caller, environment_id, example, ip_of
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.problems import Invalid
from controlplane.lib.searching import SearchFilter
from images.builds import actions
from images.builds.access import get_credential, managed_credentials
from images.builds.forms import CredentialForm
from images.builds.models import Credential, CredentialKind

router = Router(tags=["credentials"])

SORTS = {"name": ("name",), "kind": ("kind", "name"), "used": ("last_used_at", "name")}


class CredentialOut(Schema):
    """A credential without what it holds. `environment`: the only one whose hosts get to see it; null: any.
    `used_by`: the build definitions that name it, by slug."""

    name: str
    kind: str
    server: str
    username: str
    known_hosts: str
    environment: str | None
    created_by: str
    created_at: datetime
    changed_at: datetime
    last_used_at: datetime | None
    used_by: list[str]

    @staticmethod
    def resolve_environment(row: Credential) -> str | None:
        return row.environment.slug if row.environment else None


Server = Annotated[str, Field(max_length=250, description="Whom it is for: a registry, a git server.")]
Username = Annotated[str, Field(max_length=250)]
Secret = Annotated[str, Field(max_length=64 * 1024, json_schema_extra={"format": "password"})]
KnownHosts = Annotated[str, Field(max_length=20_000, description="Lines of an SSH known_hosts file.")]
Environment = Annotated[str | None, Field(max_length=60, description="An environment's slug; null: hosts of any.")]


class CredentialBody(Body):
    name: Annotated[str, Field(max_length=60)]
    kind: Literal["registry", "git-token", "git-key", "secret"]
    secret: Secret
    server: Server = ""
    username: Username = ""
    known_hosts: KnownHosts = ""
    environment: Environment = None


class CredentialChanges(Body):
    """What is left out stays as it is. A secret that is to be shown where it was not before has to be sent again."""

    secret: Secret = ""
    server: Server = ""
    username: Username = ""
    known_hosts: KnownHosts = ""
    environment: Environment = None


class CredentialFilter(django_filters.FilterSet):
    """`?q=` (name, server, user name), `?kind=`."""

    q = SearchFilter("name", "server", "username")
    kind = django_filters.ChoiceFilter(choices=CredentialKind.choices, label="Kind")

    class Meta:
        model = Credential
        fields: list[str] = []


CredentialQuery = query_of("CredentialQuery", CredentialFilter, SORTS, "name")


def _shown(request: HttpRequest, rows: list[Credential]) -> list[Credential]:
    """Each with the definitions that name it, as far as the caller sees them."""
    users = actions.users_by_name()
    for row in rows:
        seen = [each.slug for each in users.get(row.name, []) if allows(request.user, "image.see", each)]
        row.used_by = seen  # type: ignore[attr-defined]
    return rows


@router.get("", response=Page[CredentialOut], operation_id="list_credentials")
def list_credentials(request: HttpRequest, query: Query[CredentialQuery]) -> Any:  # type: ignore[valid-type]
    """Those one manages."""
    require(request.user, "registry.manage")
    rows = managed_credentials(request.user)
    return paged(request, CredentialFilter, rows, query, sorts=SORTS, rows=functools.partial(_shown, request))


@router.post(
    "",
    response={201: CredentialOut},
    operation_id="add_credential",
    openapi_extra=example({"name": "npm", "kind": "secret", "secret": "what a step of the build reads"}),
)
def add(request: HttpRequest, body: CredentialBody) -> Any:
    """Keep one. Builds use it by its name; nobody reads it again."""
    require(request.user, "registry.manage")
    return _save(request, Credential(), body.model_dump())


@router.get("/{slug:name}", response=CredentialOut, operation_id="get_credential")
def get_one(request: HttpRequest, name: str) -> Any:
    """One of them, without its secret."""
    return _shown(request, [get_credential(request.user, name)])[0]


@router.patch(
    "/{slug:name}",
    response=CredentialOut,
    operation_id="change_credential",
    openapi_extra=example({"secret": "another"}),
)
def change(request: HttpRequest, name: str, body: CredentialChanges) -> Any:
    """Another secret, or another place for it. Its name and kind stay."""
    found = get_credential(request.user, name)
    kept = {
        "server": found.server,
        "username": found.username,
        "known_hosts": found.known_hosts,
        "environment": found.environment.slug if found.environment else None,
    }
    return _save(request, found, kept | body.model_dump(exclude_unset=True))


def _save(request: HttpRequest, credential: Credential, data: dict[str, Any]) -> Credential:
    if data["environment"]:
        data["environment"] = environment_id(caller(request), "registry.manage", data["environment"])
    initial = {"name": credential.name, "kind": credential.kind}
    form = CredentialForm(data, credential=credential, actor=request.user, initial=initial)
    if not form.is_valid():
        raise Invalid.of_form(form)
    saved = actions.save_credential(caller(request), form.fill(), ip=ip_of(request))
    return _shown(request, [saved])[0]


@router.delete("/{slug:name}", response={204: None}, operation_id="delete_credential")
def delete(request: HttpRequest, name: str) -> Any:
    """Delete it. 409 while a build definition names it."""
    actions.delete_credential(caller(request), get_credential(request.user, name), ip=ip_of(request))
