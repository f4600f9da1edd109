"""People and invitations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.decide import require
from controlplane.access.giving import EVERYTHING
from controlplane.access.models import Invitation, User
from controlplane.api.common import Body, example
from controlplane.api.paging import Page, paged, query_of, searching
from controlplane.people import actions
from controlplane.people.access import everybody
from controlplane.people.filters import PEOPLE_SORTS, PeopleFilter

people = Router(tags=["people"])
invitations = Router(tags=["people"])

StandingName = Literal["administrator", "viewer", "member"]


class PersonOut(Schema):
    """An account."""

    id: int
    username: str
    name: str
    email: str
    standing: str
    is_active: bool
    is_service: bool
    purpose: str
    responsible: str | None
    team: str | None
    last_signed_in_at: datetime | None

    @staticmethod
    def resolve_name(row: User) -> str:
        return row.display

    @staticmethod
    def resolve_responsible(row: User) -> str | None:
        return row.responsible.username if row.responsible else None

    @staticmethod
    def resolve_team(row: User) -> str | None:
        return row.responsible_team.slug if row.responsible_team else None

    @staticmethod
    def resolve_last_signed_in_at(row: User) -> datetime | None:
        return row.last_login


class PersonSeen(PersonOut):
    """With how they sign in."""

    sessions: Annotated[int, Field(description="Browsers they are signed in with.")]
    has_second_factor: bool

    @staticmethod
    def resolve_sessions(row: Any) -> int:
        return int(row.session_count)

    @staticmethod
    def resolve_has_second_factor(row: Any) -> bool:
        return bool(row.with_second_factor)


class PersonChanges(Body):
    standing: StandingName
    is_active: bool


class InvitationOut(Schema):
    id: int
    standing: str
    created_by: str | None
    expires_at: datetime

    @staticmethod
    def resolve_created_by(row: Invitation) -> str | None:
        return row.created_by.display if row.created_by else None


class InvitedOut(Schema):
    """A new invitation, with the link that is shown this once."""

    invitation: InvitationOut
    link: str


class InviteBody(Body):
    standing: StandingName


PeopleQuery = query_of("PeopleQuery", PeopleFilter, PEOPLE_SORTS, "username")


def _people() -> QuerySet[User]:
    return everybody().select_related("responsible", "responsible_team")


def _get(request: HttpRequest, pk: int) -> User:
    require(request.user, "access.manage", EVERYTHING)
    found = _people().filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


@people.get("", response=Page[PersonSeen], operation_id="list_people")
def list_people(request: HttpRequest, query: Query[PeopleQuery]) -> Any:  # type: ignore[valid-type]
    """Everybody who can sign in."""
    require(request.user, "access.manage", EVERYTHING)
    return paged(request, PeopleFilter, _people(), query, sorts=PEOPLE_SORTS)


@people.get("/{int:pk}", response=PersonSeen, operation_id="get_person")
def get_person(request: HttpRequest, pk: int) -> Any:
    """One of them."""
    return _get(request, pk)


@people.patch(
    "/{int:pk}",
    response=PersonSeen,
    operation_id="change_person",
    openapi_extra=example({"standing": "viewer", "is_active": True}),
)
def change_person(request: HttpRequest, pk: int, body: PersonChanges) -> Any:
    """Another standing; let in, or kept out with their sessions and tokens."""
    actions.change_person(request, _get(request, pk), body.standing, body.is_active)
    return _get(request, pk)


@people.delete("/{int:pk}/sessions", response={204: None}, operation_id="end_sessions")
def end_sessions(request: HttpRequest, pk: int) -> Any:
    """Sign them out everywhere. Their tokens stay."""
    actions.end_sessions(request, _get(request, pk))


@people.delete("/{int:pk}/second-factors", response={204: None}, operation_id="forget_second_factors")
def forget_second_factors(request: HttpRequest, pk: int) -> Any:
    """Take away the second factors of somebody who has lost them, and sign them out everywhere."""
    actions.forget_factors(request, _get(request, pk))


INVITATION_SORTS = {"id": ("id",), "expires": ("expires_at", "id")}
InvitationFilter = searching(Invitation)
InvitationQuery = query_of("InvitationQuery", InvitationFilter, INVITATION_SORTS, "-id")


@invitations.get("", response=Page[InvitationOut], operation_id="list_invitations")
def list_invitations(request: HttpRequest, query: Query[InvitationQuery]) -> Any:  # type: ignore[valid-type]
    """Those that are open."""
    require(request.user, "access.manage", EVERYTHING)
    rows = Invitation.objects.open().filter(created_by__isnull=False).select_related("created_by")
    return paged(request, InvitationFilter, rows, query, sorts=INVITATION_SORTS)


@invitations.post("", response={201: InvitedOut}, operation_id="invite", openapi_extra=example({"standing": "member"}))
def invite(request: HttpRequest, body: InviteBody) -> Any:
    """Make a link by which one person makes their account."""
    require(request.user, "access.manage", EVERYTHING)
    invitation, link = actions.invite(request, body.standing)
    return {"invitation": invitation, "link": link}


@invitations.delete("/{int:pk}", response={204: None}, operation_id="withdraw_invitation")
def withdraw(request: HttpRequest, pk: int) -> Any:
    """End an open invitation."""
    require(request.user, "access.manage", EVERYTHING)
    actions.withdraw(request, pk)
