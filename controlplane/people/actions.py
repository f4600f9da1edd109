"""Verbs on people, service accounts and tokens, with their audit rows. Each is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import Case, QuerySet, When
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils import timezone

from controlplane.access import grant_actions, sessions, tokens
from controlplane.access.giving import extents_of_person, require_to_give, standing_extents
from controlplane.access.middleware import signed_in
from controlplane.access.models import BrowserSession, Invitation, Role, Standing, Team, Token, User
from controlplane.access.tokens import Wanted
from controlplane.lib.errors import InvalidArgument, Withheld
from controlplane.operations.audit import audited
from controlplane.people.devices import device
from controlplane.people.forms import NameForm


def told(request: HttpRequest, detail: str) -> None:
    """Write a change of one's own account into the trail."""
    audited(request, request.user, "access.account", signed_in(request), detail=detail)


@transaction.atomic
def invite(request: HttpRequest, standing: str) -> tuple[Invitation, str]:
    """A new invitation and its one-time link."""
    invitation, token = grant_actions.invite(signed_in(request), standing)
    audited(request, request.user, "access.manage", invitation, detail=f"invited a {standing}")
    return invitation, request.build_absolute_uri(reverse("access:setup", args=[token]))


@transaction.atomic
def withdraw(request: HttpRequest, pk: int) -> None:
    """End an open invitation. Raises Http404 when it is not open."""
    invitation = Invitation.objects.open().filter(pk=pk).first()
    if invitation is None:
        raise Http404
    Invitation.objects.filter(pk=pk).update(expires_at=timezone.now())
    audited(request, request.user, "access.manage", invitation, detail="withdrew an invitation")


@transaction.atomic
def change_person(request: HttpRequest, user: User, standing: str, active: bool) -> tuple[User, str]:
    """Another standing, let in or kept out; the account, and what it is then in a word.

    Raises RightMissing, Conflict for the last administrator, InvalidArgument for a service account that is to be one.
    """
    if user.is_service and standing == Standing.ADMINISTRATOR:
        raise InvalidArgument(
            "A service account cannot be an administrator.", "Give it a grant of the role over everything."
        )
    user, before = grant_actions.change_person(signed_in(request), user, standing, active)
    was = f"{before.standing}, {_state(before.is_active)}"
    detail = f"{user.username}: {standing}, {_state(active)}; was {was}"
    audited(request, request.user, "access.manage", user, detail=detail)
    return user, _state(active)


def _state(active: bool) -> str:
    return "active" if active else "deactivated"


def _require_what_they_have(request: HttpRequest, user: User) -> None:
    """Whose sign-in may be changed by whoever could give them all that they have: it might be used to become them."""
    require_to_give(signed_in(request), extents_of_person(user))


@transaction.atomic
def end_sessions(request: HttpRequest, user: User) -> int:
    """Sign `user` out everywhere; how many browsers that were."""
    _require_what_they_have(request, user)
    count = sessions.end_all(user)
    audited(request, request.user, "access.manage", user, detail=f"ended the sessions of {user.username} ({count})")
    return count


@transaction.atomic
def forget_factors(request: HttpRequest, user: User) -> None:
    """Take away all second factors of somebody who has lost them, and end their sessions: whose they are now, nobody
    knows."""
    _require_what_they_have(request, user)
    Authenticator.objects.filter(user=user).delete()
    sessions.end_all(user)
    audited(request, request.user, "access.manage", user, detail=f"took away {user.username}'s second factors")


@transaction.atomic
def ask_second_factor(request: HttpRequest, roles: Sequence[Role]) -> None:
    """Of whoever holds one of `roles`, and of nobody else."""
    before = [role.name for role in Role.objects.filter(second_factor=True).order_by("name")]
    Role.objects.update(second_factor=Case(When(pk__in=[role.pk for role in roles], then=True), default=False))
    asked = ", ".join(role.name for role in roles) or "nobody"
    detail = f"second factor asked of: {asked}; before of: {', '.join(before) or 'nobody'}"
    audited(request, request.user, "access.manage", signed_in(request), detail=detail)


@transaction.atomic
def change_names(request: HttpRequest, form: NameForm) -> User:
    """What one says of oneself, from a form that is valid. Raises Withheld for a narrowed token."""
    _require_all_of_ones_own(request)
    user: User = form.save()
    if form.has_changed():
        told(request, f"changed {', '.join(form.changed_data)}")
    return user


def _require_all_of_ones_own(request: HttpRequest) -> None:
    if signed_in(request).is_narrowed:
        raise Withheld(
            "access.account",
            "A narrowed token has nothing to do with the account of its owner.",
            "See to it on the page of your account, or with a token that is not narrowed.",
        )


def own_sessions(request: HttpRequest) -> QuerySet[BrowserSession]:
    """Where one is signed in. Raises Withheld: a narrowed token holds nothing of its owner's sign-in."""
    _require_all_of_ones_own(request)
    return sessions.open_sessions(signed_in(request))


@transaction.atomic
def end_own_session(request: HttpRequest, session: BrowserSession) -> None:
    """Sign one browser out."""
    sessions.end(own_sessions(request).filter(pk=session.pk))
    told(request, f"ended the session of {device(session.agent)} at {session.address}")


@transaction.atomic
def end_own_sessions(request: HttpRequest) -> None:
    """Sign out everywhere."""
    own_sessions(request)
    told(request, f"signed out everywhere ({sessions.end_all(signed_in(request))} sessions)")


@dataclass(frozen=True)
class Service:
    """What is said of a service account. `responsible`, `team`: who sees to it; neither: whoever manages access."""

    name: str
    purpose: str = ""
    standing: str = Standing.MEMBER
    responsible: User | None = None
    team: Team | None = None


@transaction.atomic
def add_service(request: HttpRequest, wanted: Service) -> User:
    """A new service account. Nobody can sign in as it: it has no password, and gets none."""
    if wanted.standing == Standing.ADMINISTRATOR:
        raise InvalidArgument("A service account cannot be an administrator.")
    require_to_give(signed_in(request), standing_extents(wanted.standing))
    account = User(username=wanted.name, is_service=True, standing=wanted.standing, purpose=wanted.purpose)
    account.responsible, account.responsible_team = wanted.responsible, wanted.team
    account.set_unusable_password()
    account.save()
    by = " and ".join(str(each) for each in (wanted.responsible and wanted.responsible.display, wanted.team) if each)
    detail = f"added the service account {wanted.name}, {wanted.standing}, seen to by {by or 'nobody in particular'}"
    audited(request, request.user, "access.manage", account, detail=detail)
    return account


@transaction.atomic
def add_token(request: HttpRequest, owner: User, wanted: Wanted) -> tuple[Token, str]:
    """A new token of `owner` and its secret, which is shown once. Raises as `tokens.issue`."""
    token, secret = tokens.issue(signed_in(request), owner, wanted)
    narrowed = f", narrowed to {wanted.narrowing.role}" if wanted.narrowing else ""
    detail = f"made the token {token.name} of {owner.display}, until {token.expires_at:%Y-%m-%d %H:%M} UTC{narrowed}"
    audited(request, request.user, "access.token", token, detail=detail)
    return token, secret


@transaction.atomic
def revoke_token(request: HttpRequest, token: Token) -> None:
    """End it for good. Raises Withheld for one that is seen and not one's own to end."""
    if not tokens.may_end(signed_in(request), token):
        raise Withheld("access.token", f"You may not revoke the token {token.name}.", target=token)
    if tokens.revoke(token):
        detail = f"revoked the token {token.name} of {token.owner.display}"
        audited(request, request.user, "access.token", token, detail=detail)
