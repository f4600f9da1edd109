"""Before something that would outlive a borrowed browser: has this person proved who they are a short while ago?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import auth as webauthn
from allauth.socialaccount.adapter import get_adapter as get_identities
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.contrib import messages
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from controlplane.access.middleware import open_without_second_factor, signed_in
from controlplane.access.models import User
from controlplane.operations.audit import client_ip
from controlplane.people.factor_forms import ConfirmCodeForm, ConfirmPasskeyForm
from controlplane.people.sign_in import GUESSES, refused, safe_next, too_many

FRESH_SECONDS = 600

AnyView = Callable[..., HttpResponseBase]


def is_fresh(request: HttpRequest) -> bool:
    proofs = get_authentication_records(request, signed_in(request))
    return bool(proofs) and time.time() - proofs[-1]["at"] < FRESH_SECONDS


def fresh_sign_in(view: AnyView) -> AnyView:
    """Asks first, unless the last proof is fresh. A form that was sent is filled in once more afterwards."""

    @wraps(view)
    def asking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_fresh(request):
            return view(request, *args, **kwargs)
        back = request.get_full_path() if request.method == "GET" else reverse("access:account")
        return redirect(f"{reverse('access:confirm')}?{urlencode({'next': back})}")

    return asking


class PasswordForm(forms.Form):
    password = forms.CharField(
        strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}), max_length=4096
    )


@method_decorator([never_cache, sensitive_post_parameters(), open_without_second_factor], name="dispatch")
class Confirm(View):
    """The page that asks: for the password, a code, a passkey, or to come in by the identity provider again."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._show(request)

    def post(self, request: HttpRequest) -> HttpResponse:
        user = signed_in(request)
        if "password" in request.POST:
            return self._by_password(request, user)
        form: Any
        if "credential" in request.POST:
            form = ConfirmPasskeyForm(request.POST, user=user)
        else:
            form = ConfirmCodeForm(request.POST, user=user)
        if form.is_valid():
            form.save()
            return self._done(request)
        if "credential" in form.errors:
            messages.error(request, str(form.errors["credential"][0]))
        return self._show(request, code=None if "credential" in form.errors else form)

    def _by_password(self, request: HttpRequest, user: User) -> HttpResponse:
        form = PasswordForm(request.POST)
        who = user.username.casefold(), client_ip(request) or ""
        if GUESSES.count(*who) > GUESSES.most:
            return too_many(request)
        if form.is_valid():
            if authenticate(request, username=user.username, password=form.cleaned_data["password"]) == user:
                GUESSES.forget(*who)
                record_authentication(request, user, "password", reauthenticated=True)
                return self._done(request)
            form.add_error("password", "That is not your password.")
            refused(request, "wrong password to confirm who they are", user)
        return self._show(request, password=form)

    @staticmethod
    def _done(request: HttpRequest) -> HttpResponse:
        return redirect(safe_next(request) or reverse("access:account"))

    @staticmethod
    def _show(request: HttpRequest, **given: forms.Form | None) -> HttpResponse:
        user = signed_in(request)
        kinds = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
        slugs = set(SocialAccount.objects.filter(user=user).values_list("provider", flat=True))
        context = {
            "next": safe_next(request),
            "password": (given.get("password") or PasswordForm()) if user.has_usable_password() else None,
            "code": (given.get("code") or ConfirmCodeForm(user=user)) if kinds - {"webauthn"} else None,
            "passkey": webauthn.begin_authentication(user) if "webauthn" in kinds else None,
            "providers": [each for each in get_identities().list_providers(request) if each.app.provider_id in slugs],
        }
        return render(request, "access/confirm.html", context)
