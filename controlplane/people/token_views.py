"""The pages of tokens and of service accounts."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, F, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from controlplane.access import tokens
from controlplane.access.decide import require
from controlplane.access.giving import EVERYTHING
from controlplane.access.middleware import signed_in
from controlplane.access.models import Token, User
from controlplane.lib.errors import Conflict, GantryError
from controlplane.lib.lists import listing
from controlplane.lib.pages import back, page, shown_once
from controlplane.lib.seal import seal, unseal
from controlplane.people import actions
from controlplane.people.filters import PEOPLE_SORTS, TOKEN_SORTS, PeopleFilter, TokenFilter
from controlplane.people.forms import PersonForm
from controlplane.people.token_forms import ServiceForm, TokenForm

SECRET = "new_token"  # of the session, sealed: shown once
MOST_SHOWN = 500


def own(request: HttpRequest) -> HttpResponse:
    """One's own tokens, and the form for another."""
    actor = signed_in(request)
    more = {"sees_to_services": tokens.services_of(actor).exists()}
    return _tokens(request, actor, "access/tokens.html", "access:tokens", **more)


def _tokens(request: HttpRequest, owner: User, template: str, here: str, **more: Any) -> HttpResponse:
    """The tokens of `owner`; a form that is sent makes one, whose secret the page that follows shows."""
    form = TokenForm(request.POST or None, owner=owner, actor=signed_in(request))
    if request.method == "POST" and form.is_valid():
        try:
            token, secret = actions.add_token(request, owner, form.wanted)
        except Conflict as exc:
            form.add_error("name", f"{exc.message} {exc.hint}".strip())
        else:
            request.session[SECRET] = {"token": token.pk, "secret": seal(secret)}
            return redirect(here, *([owner.pk] if owner.is_service else []))
    response = page(
        request,
        template,
        {"owner": owner, "form": form, "rows": _rows(owner.tokens.all()), "fresh": _fresh(request), **more},
        status=422 if form.errors else 200,
    )
    response["Cache-Control"] = "no-store"
    return response


def _whole(found: Any) -> Any:
    return found.select_related("owner").prefetch_related("grants__role", "grants__environments")


def _rows(found: Any) -> Any:
    return _whole(found).order_by(F("revoked_at").desc(nulls_first=True), "-pk")[:MOST_SHOWN]


def _fresh(request: HttpRequest) -> dict[str, Any] | None:
    """The token that has just been made, with its secret; at the next look it is gone."""
    kept = shown_once(request, SECRET)
    token = Token.objects.filter(pk=kept["token"]).first() if kept else None
    if token is None:
        return None
    try:
        return {"token": token, "secret": unseal(kept["secret"])}
    except GantryError:
        return None  # the installation's key has changed since


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End a token for good."""
    token = tokens.get_token(signed_in(request), pk)
    actions.revoke_token(request, token)
    messages.success(request, f"The token {token.name} is revoked.")
    return back(request, "access:tokens")


def every(request: HttpRequest) -> HttpResponse:
    """All tokens there are; search, state, order and page are in the URL."""
    require(request.user, "access.manage", EVERYTHING)
    found = listing(request, TokenFilter, _whole(Token.objects.all()), sorts=TOKEN_SORTS, default_sort="-id")
    return page(request, "access/all_tokens.html", {"listing": found, "rows": found.rows})


def services(request: HttpRequest) -> HttpResponse:
    """The service accounts one sees to, and for who manages access the form for another."""
    actor = signed_in(request)
    found = tokens.services_of(actor).select_related("responsible", "responsible_team")
    may_add = tokens.manages(actor)
    form = ServiceForm(request.POST or None)
    if request.method == "POST":
        require(actor, "access.manage", EVERYTHING)
        if form.is_valid():
            return redirect("access:service", actions.add_service(request, form.service).pk)
    live = Count("tokens", filter=Q(tokens__revoked_at=None, tokens__expires_at__gt=timezone.now()))
    rows = listing(request, PeopleFilter, found.annotate(live=live), sorts=PEOPLE_SORTS, default_sort="username")
    context = {"listing": rows, "form": form, "may_add": may_add}
    return page(request, "access/services.html", context, status=422 if form.errors else 200)


def service(request: HttpRequest, pk: int) -> HttpResponse:
    """One service account: its tokens, and for who manages access its standing."""
    account = tokens.get_service(signed_in(request), pk)
    more = {"may_change": tokens.manages(signed_in(request)), "standings": ServiceForm().fields["standing"].choices}  # type: ignore[attr-defined]
    return _tokens(request, account, "access/service.html", "access:service", **more)


@require_POST
def change_service(request: HttpRequest, pk: int) -> HttpResponse:
    """Another standing; let in, or kept out with its tokens."""
    account = tokens.get_service(signed_in(request), pk)
    require(request.user, "access.manage", EVERYTHING)
    form = PersonForm(request.POST)
    if form.is_valid():
        standing, active = form.cleaned_data["standing"], form.cleaned_data["is_active"]
        account, state = actions.change_person(request, account, standing, active)
        messages.success(request, f"{account.username} is now: {account.get_standing_display()}, {state}.")
    return redirect("access:service", pk)
