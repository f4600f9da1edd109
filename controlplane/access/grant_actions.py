"""Verbs on teams, roles and grants. Each is one transaction and asks by itself whether the one who acts may; the audit
row is the caller's, in the layer above.

Rights are read anew in the transaction, and the role is locked in it: of a role that is widened and a grant of it that
is made, both at once, the second sees the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.text import slugify

from controlplane.access import actions
from controlplane.access.giving import (
    Extent,
    extents_of,
    extents_of_person,
    extents_of_team,
    require_everywhere,
    require_to_give,
    require_to_manage,
    standing_extents,
)
from controlplane.access.models import Grant, Invitation, Role, Standing, Team, Token, User
from controlplane.access.naming import cover_again
from controlplane.access.patterns import Scope, parse_repositories, parse_tags
from controlplane.access.rights import forget
from controlplane.access.roles import ALL_VERBS
from controlplane.lib.errors import Conflict, InvalidArgument


@dataclass(frozen=True)
class Asked:
    """A grant as somebody asks for it. `environments`: ids; None: every one. `expires_at`: None: it does not end."""

    role: Role
    environments: frozenset[int] | None
    repositories: Sequence[str]
    tags: Sequence[str]
    expires_at: datetime | None = None
    reason: str = ""

    @property
    def scope(self) -> Scope:
        return Scope(tuple(self.repositories), tuple(self.tags))

    def extent(self, role: Role | None = None) -> Extent:
        return Extent((role or self.role).known_verbs, self.scope, self.environments, self.expires_at)


@transaction.atomic
def give(actor: User, holder: User | Team, asked: Asked) -> Grant:
    """Grant `asked` to `holder`. Raises RightMissing, InvalidArgument."""
    role = _checked(actor, asked)
    grant = Grant(**({"team": holder} if isinstance(holder, Team) else {"user": holder}), role=role, created_by=actor)
    return _save(grant, asked)


@transaction.atomic
def change_grant(actor: User, grant: Grant, asked: Asked) -> Grant:
    """Make `grant` what is `asked`, as if it were given anew. Raises RightMissing, InvalidArgument."""
    grant = Grant.objects.select_for_update(of=("self",)).get(pk=grant.pk)
    forget(actor)
    require_to_manage(actor, environments_of(grant), grant.scope)
    grant.role = _checked(actor, asked)
    return _save(grant, asked)


@transaction.atomic
def remove_grant(actor: User, grant: Grant) -> None:
    """Take it away. Raises RightMissing when it lies beyond what `actor` manages."""
    forget(actor)
    require_to_manage(actor, environments_of(grant), grant.scope)
    grant.delete()


def environments_of(grant: Grant) -> frozenset[int] | None:
    return None if grant.every_environment else frozenset(each.pk for each in grant.environments.all())


def _checked(actor: User, asked: Asked) -> Role:
    """The role, locked, if `actor` may give `asked`."""
    parse_repositories(" ".join(asked.repositories))
    parse_tags(" ".join(asked.tags))
    if asked.environments is not None and not asked.environments:
        raise InvalidArgument("Expected at least one environment, found none.", "Choose some, or every one.")
    if asked.expires_at is not None and asked.expires_at <= timezone.now():
        raise InvalidArgument("Expected an end in the future, found one that has passed.")
    forget(actor)
    require_to_manage(actor, asked.environments, asked.scope)
    role = Role.objects.select_for_update().get(pk=asked.role.pk)
    require_to_give(actor, [(asked.extent(role), asked.scope)])
    return role


def _save(grant: Grant, asked: Asked) -> Grant:
    grant.every_environment = asked.environments is None
    grant.repositories, grant.tags = list(asked.repositories), list(asked.tags)
    grant.expires_at, grant.reason = asked.expires_at, asked.reason
    grant.save()
    grant.environments.set(asked.environments or ())
    cover_again(grant)
    return grant


@transaction.atomic
def create_team(actor: User, name: str, group: str = "") -> Team:
    """A team without members. Raises RightMissing, InvalidArgument, Conflict."""
    require_everywhere(actor)
    slug = _slug(name, Team)
    if Team.objects.filter(slug=slug).exists():
        raise Conflict(f"There is a team “{slug}” already.", "Choose another name.")
    return Team.objects.create(name=name, slug=slug, group=group)


@transaction.atomic
def change_team(actor: User, team: Team, name: str, group: str) -> None:
    """Rename it, or let in whom an identity provider says to be of `group`. Raises RightMissing, Conflict."""
    forget(actor)
    require_everywhere(actor)
    if group and group != team.group:
        require_to_give(actor, extents_of_team(team))
    slug = _slug(name, Team)
    if Team.objects.filter(slug=slug).exclude(pk=team.pk).exists():
        raise Conflict(f"There is a team “{slug}” already.", "Choose another name.")
    team.name, team.slug, team.group = name, slug, group
    team.save(update_fields=["name", "slug", "group"])


@transaction.atomic
def remove_team(actor: User, team: Team) -> None:
    """Remove it, and the grants it has."""
    require_everywhere(actor)
    team.delete()


@transaction.atomic
def add_members(actor: User, team: Team, people: Iterable[User]) -> None:
    """Give `people` what the team has. Raises RightMissing when that is more than `actor` has."""
    forget(actor)
    require_everywhere(actor)
    require_to_give(actor, extents_of_team(team))
    team.members.add(*people)


@transaction.atomic
def remove_member(actor: User, team: Team, person: User) -> None:
    require_everywhere(actor)
    team.members.remove(person)


@transaction.atomic
def create_role(actor: User, name: str, description: str, verbs: Iterable[str]) -> Role:
    """A role of one's own. Nobody has it yet, so that it may name any verb."""
    require_everywhere(actor)
    slug = _slug(name, Role)
    if Role.objects.filter(slug=slug).exists():
        raise Conflict(f"There is a role “{slug}” already.", "Choose another name.")
    return Role.objects.create(name=name, slug=slug, description=description, verbs=sorted(_known(verbs)))


@transaction.atomic
def change_role(actor: User, role: Role, name: str, description: str, verbs: Iterable[str]) -> Role:
    """The role, changed in what it is called and gives. Verbs that this Gantry does not know stay in it. Raises
    RightMissing when a grant of it would come to give more than `actor` has, Conflict when it is built in."""
    role = Role.objects.select_for_update().get(pk=role.pk)
    _refuse_built_in(role)
    forget(actor)
    require_everywhere(actor)
    wanted = _known(verbs)
    if more := wanted - role.known_verbs:
        require_to_give(actor, extents_of(role.grants.live(), frozenset(more)))
    slug = _slug(name, Role)
    if Role.objects.filter(slug=slug).exclude(pk=role.pk).exists():
        raise Conflict(f"There is a role “{slug}” already.", "Choose another name.")
    role.name, role.slug, role.description = name, slug, description
    role.verbs = sorted(wanted | (set(role.verbs) - ALL_VERBS))
    role.save(update_fields=["name", "slug", "description", "verbs"])
    return role


@transaction.atomic
def remove_role(actor: User, role: Role) -> None:
    """Raises Conflict when it is built in, or a grant gives it."""
    role = Role.objects.select_for_update().get(pk=role.pk)
    _refuse_built_in(role)
    require_everywhere(actor)
    # A token that has ended stays in the list of its owner, but needs the role no more.
    role.grants.filter(token__isnull=False).exclude(token__in=Token.objects.live().values("pk")).delete()
    grants = list(role.grants.select_related("user", "team", "token__owner")[:6])
    if grants:
        holders = [_named(grant) for grant in grants[:5]]
        more = " and others" if len(grants) > 5 else ""
        raise Conflict(
            f"{role.name} is in use: by grants to {', '.join(dict.fromkeys(holders))}{more}.",
            "Remove those grants, or give them another role, and revoke those tokens first.",
        )
    role.delete()


@transaction.atomic
def change_person(actor: User, person: User, standing: str, active: bool) -> tuple[User, User]:
    """The account, changed in its standing, and whether it is let in; beside it, what it was. Whoever does it must have
    both what it held and what it will: nobody is put out by somebody who has less. Raises RightMissing, Conflict."""
    # Administrators with them, all in one order, as `actions` locks them when one goes.
    locked = User.objects.select_for_update().filter(Q(pk=person.pk) | Q(standing=Standing.ADMINISTRATOR))
    person = next(each for each in locked.order_by("pk") if each.pk == person.pk)
    forget(actor)
    require_everywhere(actor)
    if standing != person.standing or active != person.is_active:
        require_to_give(actor, standing_extents(person.standing, standing))
    if active and not person.is_active:
        require_to_give(actor, extents_of_person(person))
    before = copy(person)
    actions.set_standing(person, standing)
    actions.set_active(person, active)
    return person, before


@transaction.atomic
def invite(actor: User, standing: str) -> tuple[Invitation, str]:
    """A one-time link to an account of `standing`, and its token. Raises RightMissing."""
    forget(actor)
    require_everywhere(actor)
    require_to_give(actor, standing_extents(standing))
    return Invitation.issue(standing, created_by=actor)


def _named(grant: Grant) -> str:
    if grant.token:
        return f"the token {grant.token.name} of {grant.token.owner.display}"
    return grant.user.display if grant.user else str(grant.team)


def _refuse_built_in(role: Role) -> None:
    if role.built_in:
        raise Conflict(f"{role.name} is built in and stays as it is.", "Make a role of your own.")


def _known(verbs: Iterable[str]) -> set[str]:
    wanted = set(verbs)
    if unknown := wanted - ALL_VERBS:
        raise InvalidArgument(f"Expected rights that there are, found “{min(unknown)}”.")
    return wanted


def _slug(name: str, of: type[Team | Role]) -> str:
    slug = slugify(name, allow_unicode=True)
    if not slug:
        raise InvalidArgument(f"Expected a name with at least one letter or digit, found “{name}”.")
    most = of._meta.get_field("slug").max_length or 0
    if len(slug) > most:  # one sign may be written out as several letters
        raise InvalidArgument(f"Expected a name that is at most {most} letters in an address, found “{name}”.")
    return slug
