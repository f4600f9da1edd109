"""Teams: the list, one with its members; making, changing and removing one; who is in it."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.giving import require_everywhere
from controlplane.access.models import Team, User
from controlplane.api.common import Body, Id, caller, example
from controlplane.api.paging import Page, paged, query_of, searching
from controlplane.api.problems import Invalid
from controlplane.granting import access, actions
from controlplane.granting.forms import MembersForm, TeamForm

router = Router(tags=["teams"])
SORTS = {"name": ("name",), "id": ("id",)}


class TeamOut(Schema):
    """People who are given rights together. `group`: what an identity provider calls it, or empty."""

    id: int
    name: str
    slug: str
    group: str
    member_count: int
    grant_count: int


class MemberOut(Schema):
    id: int
    username: str
    name: str

    @staticmethod
    def resolve_name(row: User) -> str:
        return row.display


class TeamDetail(TeamOut):
    """With everybody in it. Its grants: `list_grants` with `team`."""

    members: list[MemberOut]

    @staticmethod
    def resolve_members(row: Team) -> list[User]:
        return list(row.members.all())


Name = Annotated[str, Field(max_length=80)]
Group = Annotated[str, Field(max_length=200, description="What an identity provider calls it.")]


class TeamBody(Body):
    name: Name
    group: Group = ""


class TeamChanges(Body):
    """What is left out stays as it is."""

    name: Name = ""
    group: Group = ""


class MembersBody(Body):
    people: Annotated[list[Id], Field(min_length=1, max_length=500)]


TeamFilter = searching(Team, "name", "slug", "group")
TeamQuery = query_of("TeamQuery", TeamFilter, SORTS, "name")


def _to_change(request: HttpRequest, pk: int) -> Team:
    """The team, locked, for whoever manages access to everything: teams are of no environment."""
    require_everywhere(caller(request))
    Team.objects.select_for_update().filter(pk=pk).first()
    return access.get_team(caller(request), pk)


@router.get("", response=Page[TeamOut], operation_id="list_teams")
def list_teams(request: HttpRequest, query: Query[TeamQuery]) -> Any:  # type: ignore[valid-type]
    """Every team."""
    return paged(request, TeamFilter, access.teams(caller(request)), query, sorts=SORTS)


@router.post(
    "",
    response={201: TeamDetail},
    operation_id="add_team",
    openapi_extra=example({"name": "Night shift", "group": "night"}),
)
def add(request: HttpRequest, body: TeamBody) -> Any:
    """A new team, without members."""
    require_everywhere(caller(request))
    form = TeamForm(body.model_dump())
    if not form.is_valid():
        raise Invalid.of_form(form)
    made = actions.create_team(request, form.cleaned_data["name"], form.cleaned_data["group"])
    return access.get_team(caller(request), made.pk)


@router.get("/{int:pk}", response=TeamDetail, operation_id="get_team")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One team, with its members."""
    return access.get_team(caller(request), pk)


@router.patch(
    "/{int:pk}", response=TeamDetail, operation_id="change_team", openapi_extra=example({"name": "Late shift"})
)
def change(request: HttpRequest, pk: int, body: TeamChanges) -> Any:
    """Rename it, or let in whom an identity provider says to be of a group."""
    team = _to_change(request, pk)
    kept = {"name": team.name, "group": team.group}
    form = TeamForm(kept | body.model_dump(exclude_unset=True), instance=team)
    if not form.is_valid():
        raise Invalid.of_form(form)
    actions.change_team(request, team, form.cleaned_data["name"], form.cleaned_data["group"])
    return access.get_team(caller(request), pk)


@router.delete("/{int:pk}", response={204: None}, operation_id="remove_team")
def remove(request: HttpRequest, pk: int) -> Any:
    """Remove it with its grants."""
    actions.remove_team(request, _to_change(request, pk))


@router.post(
    "/{int:pk}/members", response=TeamDetail, operation_id="add_members", openapi_extra=example({"people": [2]})
)
def add_members(request: HttpRequest, pk: int, body: MembersBody) -> Any:
    """Let people in, by their ids: they have what the team is granted from then on."""
    team = _to_change(request, pk)
    form = MembersForm(body.model_dump(), team=team)
    if not form.is_valid():
        raise Invalid({"people": ["Expected the ids of people who are active and not in the team yet."]})
    actions.add_members(request, team, list(form.cleaned_data["people"]))
    return access.get_team(caller(request), pk)


@router.delete("/{int:pk}/members/{int:person}", response={204: None}, operation_id="take_member")
def take_member(request: HttpRequest, pk: int, person: int) -> Any:
    """Take one person out."""
    team = _to_change(request, pk)
    actions.take_member(request, team, access.get_member(team, person))
