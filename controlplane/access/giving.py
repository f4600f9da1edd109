"""Who manages which grants, and what they may give: nobody gives what they do not have.

A verb is had over a scope, in environments, until a moment. Whoever gives it must hold it over a scope that contains
the given one, in each of the environments, and for at least as long. What widens what others hold is giving too: a
verb more in a role, a person more in a team, another standing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet

from controlplane.access.decide import require
from controlplane.access.models import Grant, Team, User
from controlplane.access.patterns import Scope
from controlplane.access.reach import Place
from controlplane.access.rights import EVERYTHING as EVERY_IMAGE
from controlplane.access.rights import Layer, held_by, rights_of
from controlplane.access.roles import STANDING
from controlplane.lib.errors import RightMissing
from controlplane.lib.searching import having

EVERYTHING = Place(label="everything")
"""The place that only a grant over everything reaches."""


@dataclass(frozen=True)
class Extent:
    """What is given: verbs over a scope, in environments (None: in every one), until then (None: for good)."""

    verbs: frozenset[str]
    scope: Scope = EVERY_IMAGE
    environments: frozenset[int] | None = None
    until: datetime | None = None


def lacking(actor: User, extent: Extent) -> list[str]:
    """The verbs of `extent` that `actor` does not hold so widely and so long."""
    rights = rights_of(actor)
    return sorted(verb for verb in extent.verbs if not all(_contains(layer, extent) for layer in rights.of(verb)))


def _contains(layer: Layer, extent: Extent) -> bool:
    wide = [held for held in layer if _outlasts(held.expires_at, extent.until) and extent.scope.is_within(held.scope)]
    if extent.environments is None:
        return any(held.environments is None for held in wide)
    return all(any(held.in_environment(each) for held in wide) for each in extent.environments)


def _outlasts(held_until: datetime | None, given_until: datetime | None) -> bool:
    return held_until is None or (given_until is not None and given_until <= held_until)


def require_to_give(actor: User, extents: Iterable[tuple[Extent, object]]) -> None:
    """Raise RightMissing with a verb that `actor` does not have to give; beside each extent, what to call it."""
    for extent, what in extents:
        if missing := lacking(actor, extent):
            raise RightMissing(missing[0], what)


def require_everywhere(actor: User) -> None:
    """Raise RightMissing unless `actor` manages access to everything: teams, roles and people are not of one
    environment."""
    require(actor, "access.manage", EVERYTHING)


def managed(actor: User) -> frozenset[int] | None:
    """The environments in which `actor` manages grants; None: every one, and what is in none."""
    found: frozenset[int] | None = None
    for layer in rights_of(actor).of("access.manage"):
        if any(held.environments is None for held in layer):
            continue
        there = frozenset[int]().union(*(held.environments or () for held in layer))
        found = there if found is None else found & there
    return found


def manages(actor: User, environments: frozenset[int] | None) -> bool:
    """Whether `actor` manages all that lies in `environments` (None: everything)."""
    inside = managed(actor)
    return inside is None or (bool(environments) and environments is not None and environments <= inside)


def require_to_manage(actor: User, environments: frozenset[int] | None, what: object) -> None:
    if not manages(actor, environments):
        raise RightMissing("access.manage", what)


def manageable(actor: User) -> QuerySet[Grant]:
    """The grants to people and teams that `actor` may see and change: those that lie within what they manage."""
    require(actor, "access.manage")
    grants = Grant.objects.filter(Q(user__isnull=False) | Q(team__isnull=False))
    inside = managed(actor)
    if inside is None:
        return grants
    places = Grant.environments.through.objects
    within = grants.filter(every_environment=False, pk__in=places.values("grant_id"))
    return within.exclude(pk__in=places.exclude(environment_id__in=inside).values("grant_id"))


def counted(actor: User) -> Count:
    """For a queryset of teams or of roles: how many grants each has, of those that `actor` manages."""
    if managed(actor) is None:
        return Count("grants", filter=Q(grants__token=None), distinct=True)
    return Count("grants", filter=Q(grants__in=manageable(actor).values("pk")), distinct=True)


def holders(grants: QuerySet[Grant]) -> QuerySet[User]:
    """The people to whom, or to a team of whom, one of `grants` is given."""
    of_teams = Team.members.through.objects.filter(team_id__in=grants.filter(team__isnull=False).values("team_id"))
    own = grants.filter(user__isnull=False).values("user_id")
    return User.objects.filter(Q(pk__in=own) | Q(pk__in=of_teams.values("user_id")))


def known_to(actor: User) -> QuerySet[User]:
    """Those of whom `actor`, who manages access, may ask what they may do: who holds anything in what they manage, by
    standing or by a grant that reaches there; themselves; whoever manages everything, everybody."""
    require(actor, "access.manage")
    inside = managed(actor)
    if inside is None:
        return User.objects.all()
    there = Grant.environments.through.objects.filter(environment_id__in=inside).values("grant_id")
    reaching = Grant.objects.filter(Q(every_environment=True) | Q(pk__in=there), token=None)
    by_standing = [standing for standing, verbs in STANDING.items() if verbs]
    known = Q(pk=actor.pk) | Q(standing__in=by_standing) | Q(pk__in=holders(reaching).order_by().values("pk"))
    return User.objects.filter(known)


def named_like(people: QuerySet[User], text: str) -> QuerySet[User]:
    """Those of `people` in whose name each word of `text` is; the one who is called just that, where there is one."""
    exact = Q(username=text)
    if text and people.filter(exact).exists():
        return people.filter(exact)
    return having(people, text, "username", "first_name", "last_name")


def extents_of(grants: QuerySet[Grant], verbs: frozenset[str] | None = None) -> Sequence[tuple[Extent, object]]:
    """What each of `grants` gives, or what `verbs` would be if it gave them."""
    return [
        (Extent(held.verbs if verbs is None else verbs, held.scope, held.environments, held.expires_at), held.scope)
        for held in held_by(grants)
    ]


def extents_of_team(team: Team) -> list[tuple[Extent, object]]:
    """What somebody gets who comes into `team`: its grants, and by tokens what the service accounts hold that it sees
    to."""
    return [*extents_of(team.grants.live()), *_extents_of_accounts(team.services.all())]


def extents_of_person(person: User) -> list[tuple[Extent, object]]:
    """What `person` holds: by standing, by grants, and by tokens what the service accounts hold that they see to."""
    services = User.objects.filter(Q(responsible=person) | Q(responsible_team__in=person.teams.values("pk")))
    return _extents_of_accounts([person, *services.filter(is_service=True)])


def _extents_of_accounts(accounts: Iterable[User]) -> list[tuple[Extent, object]]:
    found: list[tuple[Extent, object]] = []
    for account in accounts:
        found += [*standing_extents(account.standing), *extents_of(Grant.objects.live().of(account))]
    return found


def standing_extents(*standings: str) -> list[tuple[Extent, object]]:
    return [(Extent(STANDING.get(each, frozenset())), EVERYTHING) for each in standings]
