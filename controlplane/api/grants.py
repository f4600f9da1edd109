"""Grants: the list, one, making, changing and removing one, and what one would cover."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import AfterValidator, Field

from controlplane.access.decide import require
from controlplane.access.models import Grant, Role, Team, User
from controlplane.api.common import Body, Ref, caller, example
from controlplane.api.door import only_reads
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.problems import Invalid
from controlplane.granting import access, actions
from controlplane.granting.covering import Coverage, preview_of
from controlplane.granting.filters import SORTS, GrantFilter
from controlplane.granting.forms import GrantForm

router = Router(tags=["grants"])


class GrantOut(Schema):
    """Who may do what where: to a `user` (user name) or a `team` (slug). `environments`: slugs; null: every one."""

    id: int
    user: str | None
    team: str | None
    role: str
    environments: list[str] | None
    repositories: list[str]
    tags: list[str]
    expires_at: datetime | None
    is_live: bool
    reason: str
    created_by: str | None
    created_at: datetime

    @staticmethod
    def resolve_user(row: Grant) -> str | None:
        return row.user.username if row.user else None

    @staticmethod
    def resolve_team(row: Grant) -> str | None:
        return row.team.slug if row.team else None

    @staticmethod
    def resolve_role(row: Grant) -> str:
        return row.role.slug

    @staticmethod
    def resolve_environments(row: Grant) -> list[str] | None:
        return None if row.every_environment else [each.slug for each in row.environments.all()]

    @staticmethod
    def resolve_created_by(row: Grant) -> str | None:
        return row.created_by.username if row.created_by else None


class PreviewOut(Schema):
    """What a grant would cover now, of what you may see: counts, and the first by name."""

    repositories_said: str
    tags_said: str
    image_count: int
    images: list[str]
    container_count: int
    containers: list[Ref]
    host_count: int
    hosts: list[Ref]
    lacking: Annotated[list[str], Field(description="Rights of the role that you lack to give it.")]
    idle: Annotated[list[str], Field(description="Rights of the role that are given only over everything.")]


def _in_utc(value: datetime) -> datetime:
    """Without a zone it is UTC already."""
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError as exc:
        raise ValueError("expected a moment of the calendar") from exc


Slug = Annotated[str, Field(max_length=60)]
Environments = Annotated[
    Annotated[list[Slug], Field(max_length=100)] | None,
    Field(description="Slugs; null: every one, and hosts in none."),
]
Patterns = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Reason = Annotated[str, Field(max_length=300)]


class Terms(Body):
    """What is given, and where. `expires_at`: null: it does not end."""

    role: Annotated[Slug, Field(description="A role's slug.")]
    environments: Environments
    repositories: Patterns = ["**"]
    tags: Patterns = ["*"]
    expires_at: Moment | None = None


class GrantBody(Terms):
    """A grant, to either a person or a team."""

    user: Annotated[str | None, Field(max_length=150, description="A user name.")] = None
    team: Annotated[str | None, Field(max_length=80, description="A team's slug.")] = None
    reason: Reason = ""


class GrantChanges(Body):
    """What is left out stays as it is. To whom it is given always does."""

    role: Slug = ""
    environments: Environments = None
    repositories: Patterns = []
    tags: Patterns = []
    expires_at: Moment | None = None
    reason: Reason = ""


GrantQuery = query_of("GrantQuery", GrantFilter, SORTS, "-id")
TERMS = {"role": "developer", "environments": ["staging"], "repositories": ["shop/*"], "tags": ["dev-*"]}


def _form(request: HttpRequest, said: dict[str, Any], **holder: Any) -> GrantForm:
    """The page's form, filled in and right. `holder`: to whom; else that stays. Raises Invalid."""
    data = said | holder | {"role": _role(said["role"]), "every_environment": said["environments"] is None}
    data["environments"] = _environments(caller(request), said["environments"] or [])
    for name in ("repositories", "tags"):
        data[name] = " ".join(said[name])
    form = GrantForm(data, actor=caller(request), holder_stays=not holder)
    if not form.is_valid():
        raise Invalid.of_form(form)
    return form


def _role(slug: str) -> int:
    found = Role.objects.filter(slug=slug).first()
    if found is None:
        raise Invalid({"role": [f"Expected a role's slug, found “{slug}”."]})
    return found.pk


def _environments(actor: User, slugs: list[str]) -> list[int]:
    known = dict(access.environments(actor).filter(slug__in=slugs).values_list("slug", "pk"))
    if unknown := [slug for slug in slugs if slug not in known]:
        raise Invalid({"environments": [f"Expected slugs of environments you manage, found “{unknown[0]}”."]})
    return list(known.values())


def _holder(body: GrantBody) -> str:
    """As the form names it."""
    if (body.user is None) == (body.team is None):
        raise Invalid({"": ["Expected either a user or a team."]})
    if body.user is not None:
        person = User.objects.filter(username=body.user, is_active=True).first()
        if person is None:
            raise Invalid({"user": [f"Expected the name of an active user, found “{body.user}”."]})
        return f"user:{person.pk}"
    team = Team.objects.filter(slug=body.team).first()
    if team is None:
        raise Invalid({"team": [f"Expected a team's slug, found “{body.team}”."]})
    return f"team:{team.pk}"


@router.get("", response=Page[GrantOut], operation_id="list_grants")
def list_grants(request: HttpRequest, query: Query[GrantQuery]) -> Any:  # type: ignore[valid-type]
    """Every grant that lies within what you manage; the ended ones too. `person`: their own and their teams'."""
    return paged(request, GrantFilter, access.grants(caller(request)), query, sorts=SORTS)


@router.post(
    "",
    response={201: GrantOut},
    operation_id="add_grant",
    openapi_extra=example({"team": "shop", **TERMS, "expires_at": "2099-01-31T18:00:00Z", "reason": "the new shop"}),
)
def add(request: HttpRequest, body: GrantBody) -> Any:
    """Grant a role to somebody, somewhere. Nobody gives what they do not have."""
    require(request.user, "access.manage")
    form = _form(request, body.model_dump(exclude={"user", "team"}), holder=_holder(body))
    return actions.give(request, form.to, form.asked())


@router.post("/preview", response=PreviewOut, operation_id="preview_grant", openapi_extra=example(TERMS))
@only_reads
def preview(request: HttpRequest, body: Terms) -> Any:
    """What such a grant would cover, and what you lack to give it. Nothing is changed."""
    require(request.user, "access.manage")
    asked = _form(request, body.model_dump()).asked()
    scope = (asked.repositories, asked.tags, asked.environments, asked.expires_at)
    found = preview_of(caller(request), asked.role, *scope)
    return found | _counted(found["coverage"])


def _counted(found: Coverage) -> dict[str, Any]:
    return {
        "image_count": found.images,
        "images": found.first_images,
        "container_count": found.containers,
        "containers": found.first_containers,
        "host_count": found.hosts,
        "hosts": found.first_hosts,
    }


@router.get("/{int:pk}", response=GrantOut, operation_id="get_grant")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One grant."""
    return access.get_grant(caller(request), pk)


@router.patch(
    "/{int:pk}", response=GrantOut, operation_id="change_grant", openapi_extra=example({"tags": ["dev-*", "test-*"]})
)
def change(request: HttpRequest, pk: int, body: GrantChanges) -> Any:
    """Change what it gives and where, as if it were given anew."""
    grant = access.get_grant(caller(request), pk, lock=True)
    kept = {
        "role": grant.role.slug,
        "environments": GrantOut.resolve_environments(grant),
        "repositories": grant.repositories,
        "tags": grant.tags,
        "expires_at": grant.expires_at,
        "reason": grant.reason,
    }
    form = _form(request, kept | body.model_dump(exclude_unset=True))
    actions.change_grant(request, grant, form.asked())
    return access.get_grant(caller(request), pk)


@router.delete("/{int:pk}", response={204: None}, operation_id="remove_grant")
def remove(request: HttpRequest, pk: int) -> Any:
    """Take it away: open terminals and streams that it allowed end within seconds."""
    actions.remove_grant(request, access.get_grant(caller(request), pk))
