"""To the provider, and back from it."""

from __future__ import annotations

import secrets
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from controlplane.access.middleware import signed_in
from controlplane.people.fresh import fresh_sign_in
from controlplane.people.identities import require_own_page
from controlplane.people.oidc.provider import OidcAdapter
from controlplane.people.sign_in import begin, safe_next


def _provider(request: HttpRequest, slug: str) -> Any:
    found = [each for each in get_adapter().list_providers(request) if each.app.provider_id == slug]
    if not found:
        raise Http404("No such provider.")
    return found[0]


@login_not_required
@never_cache
@require_GET
def login(request: HttpRequest, slug: str) -> HttpResponse:
    """Send the browser to the provider.

    By GET, as a form's way may not lead to another site (form-action in our policy). It changes nothing: what comes
    back is taken only by the browser that was sent from here, for the question it was sent with.
    """
    return _away(request, slug, AuthProcess.LOGIN, next_url=safe_next(request) or None)


@never_cache
@require_GET
@fresh_sign_in
def link(request: HttpRequest) -> HttpResponse:
    """Send the browser to the `?provider=` to link who signs in there to the account that is signed in here. Without a
    question, to the page where it begins."""
    if not request.GET:
        return redirect("access:account")
    require_own_page(request)
    return _away(request, request.GET.get("provider", ""), AuthProcess.CONNECT, user=signed_in(request).pk)


def _away(request: HttpRequest, slug: str, process: str, **state: Any) -> HttpResponse:
    """`state`: what the answer finds again, in the session."""
    provider = _provider(request, slug)
    if refusal := begin(request):
        return refusal
    nonce = secrets.token_urlsafe(32)
    params = {"nonce": nonce, "prompt": "login"} if request.user.is_authenticated else {"nonce": nonce}
    try:
        answer: HttpResponse = provider.redirect(request, process, auth_params=params, nonce=nonce, **state)
    except OAuth2Error as exc:
        answer = render_authentication_error(request, provider, exception=exc)
    return answer


class Callback(OAuth2CallbackView):
    """Back from the provider, with a code or a refusal."""

    adapter: OidcAdapter

    def _get_state(self, request: HttpRequest, provider: Any) -> tuple[dict[str, Any] | None, HttpResponse | None]:
        state, response = super()._get_state(request, provider)
        if state is not None:
            self.adapter.nonce = state["nonce"]
            # RFC 9207: an answer that says whose it is must be of whom was asked.
            if request.GET.get("iss", self.adapter.document["issuer"]) != self.adapter.document["issuer"]:
                raise OAuth2Error(f"expected an answer of {self.adapter.document['issuer']}, found another's")
        return state, response

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            answer: HttpResponse = super().dispatch(request, *args, **kwargs)
        except OAuth2Error as exc:
            answer = render_authentication_error(request, self.adapter.get_provider(), exception=exc)
        return answer


@login_not_required
@never_cache
@require_GET
def callback(request: HttpRequest, slug: str) -> HttpResponse:
    """Where the provider sends the browser back to."""
    _provider(request, slug)
    if refusal := begin(request):
        return refusal
    answer: HttpResponse = Callback.adapter_view(OidcAdapter(request, slug))(request)
    return answer
