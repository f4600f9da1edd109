"""Signing in: by a password and then a second factor, by a passkey alone, or by an identity provider (`oidc`)."""

from __future__ import annotations

import unicodedata
from typing import Any

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from allauth.core.internal.httpkit import headed_redirect_response
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import auth as webauthn
from allauth.mfa.webauthn.internal.flows import perform_passwordless_login
from allauth.mfa.webauthn.views import LoginWebAuthnView
from allauth.socialaccount.adapter import get_adapter as get_identities
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import LoginView
from django.forms import Form
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from controlplane.access.models import User
from controlplane.lib.throttle import Throttle
from controlplane.operations.audit import client_ip, record
from controlplane.operations.models import Outcome

# Guesses of one name's password from one address. Somebody who mistypes it is not locked out from elsewhere.
GUESSES = Throttle("sign-in", most=10, seconds=300)
# Wrong sign-ins from one address, whatever the name: a list of names is no way round.
WRONG = Throttle("sign-in-address", most=100, seconds=300)
# Ways begun and answers brought by whoever it is: each costs a row, of a session or of the trail.
BEGUN = Throttle("sign-in-begun", most=300, seconds=300)
# How long a sign-in that was begun may take; after it, its session is swept away.
BEGUN_SECONDS = 900


def begin(request: HttpRequest) -> HttpResponse | None:
    """Called where a sign-in begins or comes back from elsewhere: the answer for somebody who has done so too often."""
    if not request.user.is_authenticated:
        request.session.set_expiry(BEGUN_SECONDS)
    return too_many(request) if BEGUN.count(client_ip(request) or "") > BEGUN.most else None


def too_many(request: HttpRequest) -> HttpResponse:
    """The page of somebody who has to wait."""
    response = render(request, "access/throttled.html", {"minutes": GUESSES.seconds // 60}, status=429)
    response["Retry-After"] = str(GUESSES.seconds)
    return response


def refused(request: HttpRequest, detail: str, user: User | None = None) -> None:
    """Write a sign-in that did not come about into the trail."""
    actor = user or AnonymousUser()
    record(actor, "access.sign-in", outcome=Outcome.REFUSED, detail=detail, ip=client_ip(request))


def safe_next(request: HttpRequest) -> str:
    """Where the form or the address says to go afterwards, if that is a page of ours; else nothing."""
    asked = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
    ours = url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure())
    return asked if ours else ""


@method_decorator(login_not_required, name="dispatch")
class SignIn(LoginView):
    """The page where one signs in."""

    template_name = "access/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Counted before the password is looked at, so that guesses sent all at once are counted too.
        name, ip = self._who()
        tried, wrong = GUESSES.count(name, ip), WRONG.count(ip)
        if tried > GUESSES.most or wrong > WRONG.most:
            if tried == GUESSES.most + 1 or wrong == WRONG.most + 1:
                refused(request, f"too many wrong passwords for “{name[:150]}”")
            return too_many(request)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        name, ip = self._who()
        GUESSES.forget(name, ip)
        WRONG.take_back(ip)
        user = form.get_user()
        login = Login(user=user, redirect_url=self.get_success_url())
        return perform_password_login(self.request, {"username": user.get_username()}, login)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        refused(self.request, f"wrong password for “{self._who()[0][:150]}”")
        return super().form_invalid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        providers = get_identities().list_providers(self.request)
        return super().get_context_data(providers=providers, **kwargs)

    def _who(self) -> tuple[str, str]:
        name = unicodedata.normalize("NFKC", self.request.POST.get("username", "")).casefold().strip()
        return name, client_ip(self.request) or ""


class SecondStep(AuthenticateView):
    """After the password: a code, a recovery code or a passkey. Counted by the forms (`factor_forms`)."""

    template_name = "access/second_step.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        kinds = set(Authenticator.objects.filter(user=self.stage.login.user).values_list("type", flat=True))
        return {**context, "has_app": "totp" in kinds, "has_passkey": "webauthn" in kinds}

    def form_invalid(self, form: Form) -> HttpResponse:
        refused(self.request, "wrong second factor", self.stage.login.user)
        return super().form_invalid(form)


@method_decorator([login_not_required, never_cache], name="dispatch")
class PasskeySignIn(LoginWebAuthnView):
    """Signing in with nothing but a passkey. GET gives a script what to ask the browser for."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.headers.get("Accept") != "application/json":
            return redirect("account_login")
        if refusal := begin(request):
            return refusal
        return JsonResponse(webauthn.begin_authentication(None))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if WRONG.count(client_ip(request) or "") > WRONG.most:
            return too_many(request)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: Form) -> HttpResponse:
        WRONG.take_back(client_ip(self.request) or "")
        passkey = form.cleaned_data["credential"]
        login = Login(user=passkey.user, redirect_url=safe_next(self.request) or None)
        return perform_passwordless_login(self.request, passkey, login)

    def form_invalid(self, form: Form) -> HttpResponse:
        refused(self.request, "a passkey that is not known here, or no longer")
        messages.error(self.request, "That passkey is not known here. Sign in in another way.")
        return headed_redirect_response("account_login")
