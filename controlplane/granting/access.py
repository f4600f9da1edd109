"""Fetching teams, roles and grants with permission. Teams and roles are read by whoever manages access anywhere."""

from __future__ import annotations

from django.db.models import Count, QuerySet
from django.http import Http404

from controlplane.access.decide import one_of, require
from controlplane.access.giving import counted, manageable, managed
from controlplane.access.models import Grant, Role, Team, User
from hosts.models import Environment


def teams(actor: User) -> QuerySet[Team]:
    """Every team, with the number of its members and of its grants that `actor` manages."""
    require(actor, "access.manage")
    return Team.objects.annotate(member_count=Count("members", distinct=True), grant_count=counted(actor))


def get_team(actor: User, pk: int) -> Team:
    """One team. Raises Http404."""
    found = teams(actor).filter(pk=pk).first()
    if found is None:
        raise Http404("No such team.")
    return found


def get_member(team: Team, pk: int) -> User:
    """One of those in it. Raises Http404."""
    found = team.members.filter(pk=pk).first()
    if found is None:
        raise Http404("Nobody in the team.")
    return found


def roles(actor: User) -> QuerySet[Role]:
    """Every role, with the number of its grants that `actor` manages."""
    require(actor, "access.manage")
    return Role.objects.annotate(grant_count=counted(actor))


def get_role(actor: User, pk: int) -> Role:
    """One role. Raises Http404."""
    found = roles(actor).filter(pk=pk).first()
    if found is None:
        raise Http404("No such role.")
    return found


def grants(actor: User) -> QuerySet[Grant]:
    """Every grant that lies within what `actor` manages; the ended ones too."""
    rows = manageable(actor).select_related("user", "team", "role", "created_by")
    return rows.prefetch_related("environments")


def get_grant(actor: User, pk: int, *, lock: bool = False) -> Grant:
    """One grant. Raises NotSeen for one that does not lie within what `actor` manages. `lock`: to change a part of it,
    in a transaction."""
    found = one_of(grants(actor), "access.manage", pk=pk)
    if lock:
        Grant.objects.select_for_update().filter(pk=pk).first()
        found = get_grant(actor, pk)
    return found


def environments(actor: User) -> QuerySet[Environment]:
    """Those in which `actor` manages grants."""
    inside = managed(actor)
    return Environment.objects.all() if inside is None else Environment.objects.filter(pk__in=inside)
