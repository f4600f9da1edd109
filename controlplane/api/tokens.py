"""Service accounts and tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access import tokens
from controlplane.access.decide import require
from controlplane.access.giving import EVERYTHING
from controlplane.access.models import Token
from controlplane.api.common import Body, Id, Ref, caller, example
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.people import PeopleQuery, PersonChanges, PersonOut
from controlplane.api.problems import Invalid
from controlplane.people import actions
from controlplane.people.filters import PEOPLE_SORTS, TOKEN_SORTS, PeopleFilter, TokenFilter
from controlplane.people.token_forms import ServiceForm, TokenForm

services = Router(tags=["service accounts"])
router = Router(tags=["tokens"])


class ServiceBody(Body):
    """A service account; `responsible` (a user name) or `team` (a slug) sees to it."""

    name: Annotated[str, Field(max_length=80)]
    purpose: Annotated[str, Field(max_length=200)] = ""
    standing: Literal["viewer", "member"] = "member"
    responsible: Annotated[str | None, Field(max_length=150)] = None
    team: Annotated[str | None, Field(max_length=80)] = None


class ScopeOut(Schema):
    """What a narrowed token keeps of its owner's rights. `environments`: null: every one."""

    role: str
    environments: list[str] | None
    repositories: list[str]
    tags: list[str]


class TokenOut(Schema):
    """A token, without its secret."""

    id: int
    name: str
    owner: Ref
    hint: Annotated[str, Field(description="How it begins.")]
    state: str
    is_narrowed: bool
    scopes: list[ScopeOut]
    addresses: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    last_used_from: str | None

    @staticmethod
    def resolve_owner(row: Token) -> dict[str, Any]:
        return {"id": row.owner_id, "name": row.owner.username}

    @staticmethod
    def resolve_scopes(row: Token) -> list[dict[str, Any]]:
        return [
            {
                "role": grant.role.slug,
                "environments": None if grant.every_environment else [each.slug for each in grant.environments.all()],
                "repositories": grant.repositories,
                "tags": grant.tags,
            }
            for grant in row.grants.all()
        ]


class TokenMade(Schema):
    """A new token, with its secret, which is shown this once."""

    token: TokenOut
    secret: str


class TokenBody(Body):
    """A token of a service account. With a `role` it is narrowed to that, over what is named beside it."""

    owner: Annotated[Id, Field(description="A service account's id.")]
    name: Annotated[str, Field(max_length=80)]
    days: Annotated[int, Field(ge=1, le=1098)] = 90
    role: Annotated[str | None, Field(max_length=60, description="A role's slug.")] = None
    environments: Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=100)] = []
    repositories: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)] = ["**"]
    tags: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)] = ["*"]
    addresses: Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=32)] = []


TokenQuery = query_of("TokenQuery", TokenFilter, TOKEN_SORTS, "-id")


@services.get("", response=Page[PersonOut], operation_id="list_services")
def list_services(request: HttpRequest, query: Query[PeopleQuery]) -> Any:  # type: ignore[valid-type]
    """The service accounts one sees to; who manages access, all."""
    rows = tokens.services_of(caller(request)).select_related("responsible", "responsible_team")
    return paged(request, PeopleFilter, rows, query, sorts=PEOPLE_SORTS)


@services.post(
    "",
    response={201: PersonOut},
    operation_id="add_service",
    openapi_extra=example({"name": "deployer", "purpose": "Deploys the shop"}),
)
def add_service(request: HttpRequest, body: ServiceBody) -> Any:
    """A new service account: it has no password, and comes with tokens alone."""
    require(request.user, "access.manage", EVERYTHING)
    form = ServiceForm({name: value for name, value in body.model_dump().items() if value is not None})
    if not form.is_valid():
        raise Invalid.of_form(form)
    return actions.add_service(request, form.service)


@services.get("/{int:pk}", response=PersonOut, operation_id="get_service")
def get_service(request: HttpRequest, pk: int) -> Any:
    """One service account that one sees to."""
    return tokens.get_service(caller(request), pk)


@services.patch(
    "/{int:pk}",
    response=PersonOut,
    operation_id="change_service",
    openapi_extra=example({"standing": "viewer", "is_active": True}),
)
def change_service(request: HttpRequest, pk: int, body: PersonChanges) -> Any:
    """Another standing; deactivated, with its tokens."""
    require(request.user, "access.manage", EVERYTHING)
    account = tokens.get_service(caller(request), pk)
    return actions.change_person(request, account, body.standing, body.is_active)[0]


def _tokens(request: HttpRequest) -> QuerySet[Token]:
    return tokens.seen_by(caller(request)).prefetch_related("grants__role", "grants__environments")


@router.get("", response=Page[TokenOut], operation_id="list_tokens")
def list_tokens(request: HttpRequest, query: Query[TokenQuery]) -> Any:  # type: ignore[valid-type]
    """One's own tokens and those of one's service accounts; who manages access, all. A narrowed one sees itself."""
    return paged(request, TokenFilter, _tokens(request), query, sorts=TOKEN_SORTS)


@router.post(
    "",
    response={201: TokenMade},
    operation_id="add_token",
    openapi_extra=example({"owner": 1, "name": "ci", "days": 30, "role": "developer", "repositories": ["shop/*"]}),
)
def add_token(request: HttpRequest, body: TokenBody) -> Any:
    """A token of a service account. People make theirs on the page of their account."""
    owner = tokens.services_of(caller(request)).filter(pk=body.owner).first()
    if owner is None:
        raise Invalid({"owner": ["Expected the id of a service account that you see to."]})
    form = TokenForm(_as_form(body), owner=owner, actor=caller(request))
    if not form.is_valid():
        raise Invalid.of_form(form)
    token, secret = actions.add_token(request, owner, form.wanted)
    return {"token": token, "secret": secret}


def _as_form(body: TokenBody) -> dict[str, Any]:
    data = body.model_dump(exclude={"owner"})
    for name in ("repositories", "tags", "addresses"):
        data[name] = "\n".join(data[name])
    return data


@router.get("/{int:pk}", response=TokenOut, operation_id="get_token")
def get_token(request: HttpRequest, pk: int) -> Any:
    """One token."""
    return tokens.get_token(caller(request), pk)


@router.delete("/{int:pk}", response={204: None}, operation_id="revoke_token")
def revoke_token(request: HttpRequest, pk: int) -> Any:
    """End it for good. A token may end itself."""
    actions.revoke_token(request, tokens.get_token(caller(request), pk))
