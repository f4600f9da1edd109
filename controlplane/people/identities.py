"""One's identities at providers (OpenID Connect): linked to the account one is signed in to, and unlinked, by oneself.

A link is never made by what a provider says of a name or a mail address: only by somebody who is signed in here, has
just proved it, begins on their own page, and then signs in there.
"""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from controlplane.access import sessions
from controlplane.access.decide import one_of
from controlplane.access.joining import teams_from_groups
from controlplane.access.middleware import signed_in
from controlplane.access.models import User
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.lists import row_ids
from controlplane.operations.audit import about, client_ip, record
from controlplane.operations.models import Outcome
from controlplane.people.factors import told
from controlplane.people.fresh import fresh_sign_in


def _proof(request: HttpRequest) -> str:
    """What no other site knows of this session: the way to a provider is by GET, as a form may not lead there."""
    return salted_hmac("gantry.identities.link", request.session.session_key or "").hexdigest()


def require_own_page(request: HttpRequest) -> None:
    """Raise InvalidArgument unless the request comes by a link of one's own page."""
    if not hmac.compare_digest(request.GET.get("proof", "").encode(), _proof(request).encode()):
        raise InvalidArgument("Expected a link of your own account's page.", "Begin there, under “How you sign in”.")


def linked(request: HttpRequest) -> list[dict[str, Any]]:
    """One's identities, as the page of one's account shows them."""
    names = {each.app.provider_id: each.name for each in get_adapter().list_providers(request)}
    return [
        {"row": row, "name": names.get(row.provider, row.provider), "who": row.extra_data.get("sub", "")}
        for row in SocialAccount.objects.filter(user=signed_in(request)).order_by("pk")
    ]


def linkable(request: HttpRequest) -> list[dict[str, str]]:
    """The providers at which one has none yet, with the way there."""
    mine = set(SocialAccount.objects.filter(user=signed_in(request)).values_list("provider", flat=True))
    way, proof = reverse("access:link-identity"), _proof(request)
    return [
        {"name": each.name, "address": f"{way}?{urlencode({'provider': each.app.provider_id, 'proof': proof})}"}
        for each in get_adapter().list_providers(request)
        if each.app.provider_id not in mine
    ]


def link(request: HttpRequest, login: SocialLogin) -> None:
    """Called when somebody who began a link is back from the provider. Raises ImmediateHttpResponse, always."""
    user = request.user if isinstance(request.user, User) else None
    if user is None or login.state.get("user") != user.pk:
        _refuse(request, user, "an answer for whoever began a link and is not signed in any more", "Begin once more.")
    found = SocialAccount.objects.filter(provider=login.account.provider, uid=login.account.uid).first()
    if found is not None and found.user_id == user.pk:
        messages.info(request, "That identity is linked already.")
        raise ImmediateHttpResponse(redirect("access:account"))
    try:
        with transaction.atomic():
            login.account.user = user
            login.account.save(force_insert=True)
            told(request, f"linked {_called(login.account)}")
    except IntegrityError:
        _refuse(request, user, f"link of {_called(login.account)}, which is another account's", "It is in use here.")
    messages.success(request, "Linked. From now on you can sign in by it.")
    raise ImmediateHttpResponse(redirect("access:account"))


def _refuse(request: HttpRequest, user: User | None, detail: str, hint: str) -> NoReturn:
    if user is not None:
        said = about(user)
        record(user, "access.account", **said, outcome=Outcome.REFUSED, detail=detail, ip=client_ip(request))
    messages.error(request, f"That identity could not be linked. {hint}")
    raise ImmediateHttpResponse(redirect("access:account"))


def _called(identity: SocialAccount) -> str:
    return f"the identity {identity.extra_data.get('sub', '')} at {identity.provider}"


@require_POST
@fresh_sign_in
def unlink(request: HttpRequest) -> HttpResponse:
    """Take one away, with the teams its groups gave, but not the last way one has in. Other sessions end: they may have
    come by it."""
    user = signed_in(request)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        mine = SocialAccount.objects.filter(user=user)
        identity = one_of(mine, "access.account", pk__in=row_ids([request.POST.get("identity", "")]))
        rest = mine.exclude(pk=identity.pk)
        if not (user.has_usable_password() or rest.exists() or _has_passkey(user)):
            messages.error(request, "You have no other way to sign in. Add a passkey or link another identity first.")
            return redirect("access:account")
        called = _called(identity)
        identity.delete()
        changed = teams_from_groups(user, [group for each in rest for group in each.extra_data.get("groups", [])])
        sessions.end_all(user, but=request.session.session_key)
        told(request, f"unlinked {called}{changed}")
    messages.success(request, "Unlinked, and your other sessions are signed out.")
    return redirect("access:account")


def _has_passkey(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).exists())
