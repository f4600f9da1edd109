"""Verbs on people. Each is one transaction; the audit row is the caller's, in the layer above."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from controlplane.access import sessions
from controlplane.access.decide import allows
from controlplane.access.giving import EVERYTHING, lacking, standing_extents
from controlplane.access.models import Invitation, Standing, User, hash_token
from controlplane.lib.errors import Conflict, NotFound


def first_administrator_link(base_url: str) -> str | None:
    """A fresh one-time link that creates the first administrator, or None once there is one.

    Links printed by earlier starts end here, so that at most one is open.
    """
    with transaction.atomic():
        if User.objects.filter(standing=Standing.ADMINISTRATOR, is_active=True).exists():
            return None
        Invitation.objects.filter(created_by=None).open().update(expires_at=timezone.now())
        _, token = Invitation.issue(Standing.ADMINISTRATOR)
    return f"{base_url.rstrip('/')}/setup/{token}/"


def open_invitation(token: str) -> Invitation:
    """The invitation of `token`. Raises NotFound when it is unknown, used, expired, or nobody stands behind it."""
    found = Invitation.objects.open().filter(token_hash=hash_token(token)).select_related("created_by").first()
    invitation = found if found and _is_backed(found) else None
    if invitation is None:
        raise NotFound(
            "This link has been used, has expired, or never was.",
            "Ask an administrator for a new one; before there is one, restart Gantry and take the link it prints.",
        )
    return invitation


def _is_backed(invitation: Invitation) -> bool:
    """Does the right behind the link still hold? That of its maker, or, for the first administrator's link, that
    there is no administrator yet. Otherwise somebody who is kept out could come back by a link made before."""
    maker = invitation.created_by
    if maker is not None:
        may_give = not any(lacking(maker, extent) for extent, _ in standing_extents(invitation.standing))
        return may_give and allows(maker, "access.manage", EVERYTHING)
    return not User.objects.filter(standing=Standing.ADMINISTRATOR, is_active=True).exists()


@transaction.atomic
def accept_invitation(token: str, user: User) -> User:
    """Save `user` with the invitation's standing and end the invitation. Raises NotFound as `open_invitation`."""
    invitation = open_invitation(token)
    claimed = Invitation.objects.filter(pk=invitation.pk).open().update(used_at=timezone.now())
    if claimed != 1:
        raise NotFound("This link has just been used.", "Ask for a new one.")
    user.standing = invitation.standing
    user.save()
    Invitation.objects.filter(pk=invitation.pk).update(used_by=user)
    return user


def _refuse_without_administrator(user: User) -> None:
    # All of them are locked, in one order: of two who demote each other at once the second must see the first.
    every = User.objects.select_for_update().filter(standing=Standing.ADMINISTRATOR, is_active=True).order_by("pk")
    if not [other for other in every if other.pk != user.pk]:
        raise Conflict(f"{user.display} is the last administrator.", "Make somebody else an administrator first.")


@transaction.atomic
def set_standing(user: User, standing: str) -> None:
    """Give `user` another standing. Raises Conflict when no administrator would be left."""
    if standing != Standing.ADMINISTRATOR and user.is_administrator:
        _refuse_without_administrator(user)
    user.standing = standing
    user.save(update_fields=["standing"])


@transaction.atomic
def set_active(user: User, active: bool) -> None:
    """Let `user` in or keep them out; their sessions end at once, their open pages and streams within seconds.

    Raises Conflict when no administrator would be left.
    """
    if not active and user.is_administrator:
        _refuse_without_administrator(user)
    user.is_active = active
    user.save(update_fields=["is_active"])
    if not active:
        sessions.end_all(user)
