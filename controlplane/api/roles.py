"""Roles: the list, one with its rights; making, changing and removing those of one's own."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.giving import require_everywhere
from controlplane.access.models import Role
from controlplane.access.roles import ALL_VERBS
from controlplane.api.common import Body, Verb, caller, example
from controlplane.api.paging import Page, paged, query_of, searching
from controlplane.api.problems import Invalid
from controlplane.granting import access, actions
from controlplane.granting.forms import RoleForm
from controlplane.granting.words import count_with
from controlplane.people import actions as people_actions
from controlplane.people.forms import PolicyForm

router = Router(tags=["roles"])
SORTS = {"id": ("id",), "name": ("name",)}


class RoleOut(Schema):
    """A named set of rights. `second_factor`: whoever holds it must sign in with one."""

    id: int
    name: str
    slug: str
    description: str
    verbs: list[str]
    built_in: bool
    second_factor: bool
    grant_count: int

    @staticmethod
    def resolve_verbs(row: Role) -> list[str]:
        return sorted(row.known_verbs)


class RoleDetail(RoleOut):
    """With how many people a grant gives it, of those grants that one manages, and what it names that this Gantry does
    not know."""

    people_count: int
    unknown: list[str]

    @staticmethod
    def resolve_people_count(row: Role, context: dict[str, Any]) -> int:
        return count_with(caller(context["request"]), row)

    @staticmethod
    def resolve_unknown(row: Role) -> list[str]:
        return sorted(set(row.verbs) - ALL_VERBS)


Name = Annotated[str, Field(max_length=60)]
Description = Annotated[str, Field(max_length=300)]
Verbs = Annotated[list[Verb], Field(max_length=200)]


class RoleBody(Body):
    name: Name
    description: Description = ""
    verbs: Verbs


class RoleChanges(Body):
    """What is left out stays as it is."""

    name: Name = ""
    description: Description = ""
    verbs: Verbs = []


class SecondFactorBody(Body):
    """The slugs of all roles that ask for one."""

    roles: Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=500)]


RoleFilter = searching(Role, "name", "slug", "description")
RoleQuery = query_of("RoleQuery", RoleFilter, SORTS, "id")


def _to_change(request: HttpRequest, pk: int) -> Role:
    """The role, locked, for whoever manages access to everything: roles are of no environment."""
    require_everywhere(caller(request))
    Role.objects.select_for_update().filter(pk=pk).first()
    return access.get_role(caller(request), pk)


@router.get("", response=Page[RoleOut], operation_id="list_roles")
def list_roles(request: HttpRequest, query: Query[RoleQuery]) -> Any:  # type: ignore[valid-type]
    """Every role: those that are built in, and those of one's own."""
    return paged(request, RoleFilter, access.roles(caller(request)), query, sorts=SORTS)


@router.post(
    "",
    response={201: RoleDetail},
    operation_id="add_role",
    openapi_extra=example({"name": "Log reader", "verbs": ["container.see", "container.logs"]}),
)
def add(request: HttpRequest, body: RoleBody) -> Any:
    """A role of one's own. Nobody has it yet."""
    require_everywhere(caller(request))
    form = RoleForm(body.model_dump())
    if not form.is_valid():
        raise Invalid.of_form(form)
    data = form.cleaned_data
    made = actions.create_role(request, data["name"], data["description"], data["verbs"])
    return access.get_role(caller(request), made.pk)


@router.put(
    "/second-factor",
    response=list[RoleOut],
    operation_id="ask_second_factor",
    openapi_extra=example({"roles": ["administrator"]}),
)
def ask_second_factor(request: HttpRequest, body: SecondFactorBody) -> Any:
    """Whoever holds one of these roles, by standing or by a grant, must sign in with a second factor; nobody else."""
    require_everywhere(caller(request))
    form = PolicyForm(body.model_dump())
    if not form.is_valid():
        raise Invalid.of_form(form)
    people_actions.ask_second_factor(request, list(form.cleaned_data["roles"]))
    return access.roles(caller(request)).filter(second_factor=True)


@router.get("/{int:pk}", response=RoleDetail, operation_id="get_role")
def get_one(request: HttpRequest, pk: int) -> Any:
    """One role. Its grants: `list_grants` with `role`."""
    return access.get_role(caller(request), pk)


@router.patch(
    "/{int:pk}",
    response=RoleDetail,
    operation_id="change_role",
    openapi_extra=example({"verbs": ["container.see", "container.logs", "container.stats"]}),
)
def change(request: HttpRequest, pk: int, body: RoleChanges) -> Any:
    """What it is called and gives, to everybody who has it."""
    role = _to_change(request, pk)
    kept = {"name": role.name, "description": role.description, "verbs": sorted(role.known_verbs)}
    form = RoleForm(kept | body.model_dump(exclude_unset=True), instance=role)
    if not form.is_valid():
        raise Invalid.of_form(form)
    data = form.cleaned_data
    actions.change_role(request, role, data["name"], data["description"], data["verbs"])
    return access.get_role(caller(request), pk)


@router.delete("/{int:pk}", response={204: None}, operation_id="remove_role")
def remove(request: HttpRequest, pk: int) -> Any:
    """Remove one that no grant gives."""
    actions.remove_role(request, _to_change(request, pk))
