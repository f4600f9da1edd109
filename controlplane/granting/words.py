"""Grants in words: for the audit trail, messages and confirmations."""

from __future__ import annotations

from controlplane.access.giving import holders, manageable
from controlplane.access.models import Grant, Role, Team, User

MOST_NAMES = 50


def holder_of(grant: Grant) -> str:
    return f"the team {grant.team}" if grant.team else (grant.user.display if grant.user else "a token")


def places_of(grant: Grant) -> str:
    if grant.every_environment:
        return "every environment"
    return ", ".join(each.name for each in grant.environments.all()) or "no environment any more"


def described(grant: Grant) -> str:
    """One grant in a line: Developer to the team Shop on shop/* : dev-* in Staging until 2027-01-31 12:00 UTC (why)"""
    until = f" until {grant.expires_at:%Y-%m-%d %H:%M} UTC" if grant.expires_at else ""
    reason = f" ({grant.reason})" if grant.reason else ""
    return f"{grant.role} to {holder_of(grant)} on {grant.scope} in {places_of(grant)}{until}{reason}"


def people_with(grant: Grant) -> list[str]:
    """Who has it, by name; the last line says how many more there are."""
    if grant.user:
        return [grant.user.display]
    return names(grant.team) if grant.team else []


def names(team: Team) -> list[str]:
    found = [person.display for person in team.members.all()[: MOST_NAMES + 1]]
    return found if len(found) <= MOST_NAMES else [*found[:MOST_NAMES], f"and {team.members.count() - MOST_NAMES} more"]


def count_with(actor: User, role: Role) -> int:
    """How many people a grant gives `role`, of those grants that `actor` manages and that have not ended."""
    return holders(Grant.objects.live().filter(role=role, pk__in=manageable(actor).values("pk"))).count()
