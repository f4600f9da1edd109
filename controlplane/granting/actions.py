"""Verbs on teams, roles and grants, with their audit rows. Each is one transaction, and asks as `grant_actions` does
whether the one who acts may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.http import HttpRequest

from controlplane.access import grant_actions
from controlplane.access.grant_actions import Asked
from controlplane.access.middleware import signed_in
from controlplane.access.models import Grant, Role, Team, User
from controlplane.granting.words import described
from controlplane.operations.audit import audited, gathered


@transaction.atomic
def create_team(request: HttpRequest, name: str, group: str) -> Team:
    """A team without members. Raises RightMissing, InvalidArgument, Conflict."""
    made = grant_actions.create_team(signed_in(request), name, group)
    audited(request, request.user, "access.manage", made, detail=f"made the team {made.name}{_grouped(made)}")
    return made


@transaction.atomic
def change_team(request: HttpRequest, team: Team, name: str, group: str) -> Team:
    """Rename it, or have another group belong to it. Raises RightMissing, InvalidArgument, Conflict."""
    stored = Team.objects.get(pk=team.pk)  # a form has written into `team` already
    before = f"{stored.name}{_grouped(stored)}"
    grant_actions.change_team(signed_in(request), stored, name, group)
    detail = f"changed to the team {stored.name}{_grouped(stored)}; was {before}"
    audited(request, request.user, "access.manage", stored, detail=detail)
    return stored


def _grouped(team: Team) -> str:
    return f" for the group {team.group}" if team.group else ""


@transaction.atomic
def remove_team(request: HttpRequest, team: Team) -> None:
    """Remove it with its grants. Raises RightMissing."""
    with gathered():  # written at the end, and named before it is gone
        lost = "; ".join(described(each) for each in team.grants.all()) or "none"
        audited(request, request.user, "access.manage", team, detail=f"removed the team; its grants: {lost}")
        grant_actions.remove_team(signed_in(request), team)


@transaction.atomic
def add_members(request: HttpRequest, team: Team, people: Sequence[User]) -> None:
    """Let people into a team: they have what it is granted from then on. Raises RightMissing."""
    grant_actions.add_members(signed_in(request), team, people)
    with gathered():
        for each in people:
            audited(request, request.user, "access.manage", each, detail=f"added to the team {team.name}")


@transaction.atomic
def take_member(request: HttpRequest, team: Team, person: User) -> None:
    """Take one person out of a team. Raises RightMissing."""
    grant_actions.remove_member(signed_in(request), team, person)
    audited(request, request.user, "access.manage", person, detail=f"taken out of the team {team.name}")


@transaction.atomic
def create_role(request: HttpRequest, name: str, description: str, verbs: Iterable[str]) -> Role:
    """A role of one's own. Raises RightMissing, InvalidArgument, Conflict."""
    made = grant_actions.create_role(signed_in(request), name, description, verbs)
    detail = f"made the role {made.name}: {', '.join(made.verbs)}"
    audited(request, request.user, "access.manage", made, detail=detail)
    return made


@transaction.atomic
def change_role(request: HttpRequest, role: Role, name: str, description: str, verbs: Iterable[str]) -> Role:
    """What it is called and gives. Raises RightMissing, InvalidArgument, and Conflict for one that is built in."""
    before = Role.objects.select_for_update().get(pk=role.pk)
    changed = grant_actions.change_role(signed_in(request), before, name, description, verbs)
    more = ", ".join(sorted(changed.known_verbs - before.known_verbs))
    less = ", ".join(sorted(before.known_verbs - changed.known_verbs))
    detail = f"changed the role {before.name}; added: {more or 'nothing'}; taken: {less or 'nothing'}"
    audited(request, request.user, "access.manage", changed, detail=detail)
    return changed


@transaction.atomic
def remove_role(request: HttpRequest, role: Role) -> None:
    """Remove a role that nobody has. Raises RightMissing, and Conflict for one that is built in or granted."""
    with gathered():
        audited(request, request.user, "access.manage", role, detail=f"removed the role {role.name}")
        grant_actions.remove_role(signed_in(request), role)


@transaction.atomic
def give(request: HttpRequest, holder: User | Team, asked: Asked) -> Grant:
    """Grant `asked` to `holder`. Raises RightMissing, InvalidArgument."""
    made = grant_actions.give(signed_in(request), holder, asked)
    audited(request, request.user, "access.manage", made, detail=f"granted {described(made)}")
    return made


@transaction.atomic
def change_grant(request: HttpRequest, grant: Grant, asked: Asked) -> Grant:
    """Make it what is `asked`; its holder stays. Raises RightMissing, InvalidArgument."""
    before = described(Grant.objects.select_for_update(of=("self",)).get(pk=grant.pk))
    changed = grant_actions.change_grant(signed_in(request), grant, asked)
    audited(request, request.user, "access.manage", changed, detail=f"changed to {described(changed)}; was {before}")
    return changed


@transaction.atomic
def remove_grant(request: HttpRequest, grant: Grant) -> str:
    """Take it away: open terminals and streams that it allowed end within seconds. What it was, in words.

    Raises RightMissing."""
    with gathered():
        said = described(grant)
        audited(request, request.user, "access.manage", grant, detail=f"removed the grant of {said}")
        grant_actions.remove_grant(signed_in(request), grant)
    return said
