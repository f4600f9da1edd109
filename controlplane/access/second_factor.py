"""Whether somebody must prove more than a password, and whether they can."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.db.models import Q

from controlplane.access.models import Grant, Role, User

# Kinds of `allauth.mfa`. Recovery codes only stand in for one of these, and end with the last of them.
KINDS = ("totp", "webauthn")


def second_factor_required(user: User) -> bool:
    """Whether a role of `user` asks for a second factor: that of their standing, or one that a grant gives them.

    Never of a service account: nobody signs in as one, so there is nobody who could have one.
    """
    if user.is_service:
        return False
    asking = Role.objects.filter(second_factor=True)
    return asking.filter(Q(slug=user.standing, built_in=True) | Q(grants__in=Grant.objects.live().of(user))).exists()


def has_second_factor(user: User) -> bool:
    """Whether `user` has set one up. Who has is asked for it at each sign-in, required or not."""
    return bool(Authenticator.objects.filter(user=user, type__in=KINDS).exists())


def lacks_second_factor(user: User) -> bool:
    """Whether `user` has to set one up before anything else."""
    return second_factor_required(user) and not has_second_factor(user)
