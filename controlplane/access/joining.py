"""What becomes of somebody who comes in by an identity provider."""

from __future__ import annotations

from django.db import transaction

from controlplane.access.models import Standing, Team, User

LEAST_STANDING = Standing.MEMBER


@transaction.atomic
def teams_from_groups(user: User, groups: list[str]) -> str:
    """Called at each such sign-in, with what the provider said of `user`'s groups: they are in the teams that say to
    follow one of these, and in none that follow another. Teams that follow no group are left alone. What has changed,
    for the audit trail: "; joined the team Shop; left the team Night", or nothing."""
    following = Team.objects.exclude(group="")
    left = list(following.filter(members=user).exclude(group__in=groups))
    joined = list(following.filter(group__in=groups).exclude(members=user))
    user.teams.remove(*left)
    user.teams.add(*joined)
    words = [f"; joined the team {each}" for each in joined] + [f"; left the team {each}" for each in left]
    return "".join(words)
