"""Setting up and taking away what one proves oneself by beside the password: an app's codes, passkeys."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.flows import generate_recovery_codes, view_recovery_codes
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.internal import auth as webauthn
from allauth.mfa.webauthn.views import AddWebAuthnView
from django.contrib import messages
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from controlplane.access.decide import one_of
from controlplane.access.middleware import open_without_second_factor, signed_in
from controlplane.access.models import User
from controlplane.access.second_factor import KINDS, has_second_factor, lacks_second_factor, second_factor_required
from controlplane.lib.lists import row_ids
from controlplane.people.actions import told
from controlplane.people.factor_forms import PasskeyNameForm
from controlplane.people.fresh import fresh_sign_in


@open_without_second_factor
def required(request: HttpRequest) -> HttpResponse:
    """Where somebody comes whose role asks for a second factor that they do not have yet."""
    if not lacks_second_factor(signed_in(request)):
        return redirect("access:account")
    return render(request, "access/second_factor.html")


def _with_frame(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Who still has to set one up sees no way to the rest, which would only lead back here."""
    return {**context, "lacking": lacks_second_factor(signed_in(request))}


@method_decorator([open_without_second_factor, never_cache, fresh_sign_in], name="dispatch")
class SetUpApp(ActivateTOTPView):
    """The picture to scan, and the code that shows it was scanned."""

    template_name = "access/app.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if Authenticator.objects.filter(user=signed_in(request), type="totp").exists():
            messages.info(request, "You have an app already. Remove it first to set up another.")
            return redirect("access:account")
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return _with_frame(self.request, super().get_context_data(**kwargs))

    def form_valid(self, form: Form) -> HttpResponse:
        with transaction.atomic():
            told(self.request, "set up an app for codes")
            return super().form_valid(form)

    def get_success_url(self) -> str:
        return after_adding(self.request, self.did_generate_recovery_codes)


@method_decorator([open_without_second_factor, never_cache, fresh_sign_in], name="dispatch")
class AddPasskey(AddWebAuthnView):
    """Asks the browser for a passkey, and keeps its public half."""

    template_name = "access/passkey.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = {"form": self.get_form(), **kwargs}
        context["options"] = webauthn.begin_registration(signed_in(self.request), passwordless=True)
        return _with_frame(self.request, context)

    def form_valid(self, form: Form) -> HttpResponse:
        with transaction.atomic():
            told(self.request, f"added the passkey “{form.cleaned_data['name']}”")
            return super().form_valid(form)

    def get_success_url(self) -> str:
        return after_adding(self.request, self.did_generate_recovery_codes)


def after_adding(request: HttpRequest, has_new_codes: bool) -> str:
    messages.success(request, "From now on you are asked for it when you sign in.")
    return reverse("access:recovery-codes" if has_new_codes else "access:account")


@require_POST
@open_without_second_factor
@fresh_sign_in
def remove(request: HttpRequest) -> HttpResponse:
    """Take away one of one's own, but not the last one that the role asks for."""
    user = signed_in(request)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        mine = Authenticator.objects.filter(user=user, type__in=KINDS)
        factor = one_of(mine, "access.account", pk__in=row_ids([request.POST.get("factor", "")]))
        if second_factor_required(user) and mine.count() == 1:
            messages.error(request, "A role of yours asks for one, and this is your only one. Add another first.")
            return redirect("access:account")
        told(request, f"removed {describe(factor)}")
        factor.delete()
        forget_left_over(user)
    messages.success(request, "Removed.")
    return redirect("access:account")


@require_POST
@fresh_sign_in
def rename_passkey(request: HttpRequest) -> HttpResponse:
    """Another name for one of one's own passkeys."""
    form = PasskeyNameForm(request.POST)
    mine = Authenticator.objects.filter(user=signed_in(request), type=Authenticator.Type.WEBAUTHN)
    with transaction.atomic():
        factor = one_of(mine.select_for_update(), "access.account", pk__in=row_ids([request.POST.get("factor", "")]))
        if not form.is_valid():
            messages.error(request, str(next(iter(form.errors["name"]))))
        elif form.cleaned_data["name"] != factor.wrap().name:
            told(request, f"renamed {describe(factor)} to “{form.cleaned_data['name']}”")
            factor.wrap().name = form.cleaned_data["name"]
            factor.save(update_fields=["data"])
            messages.success(request, "Renamed.")
    return redirect("access:account")


def describe(factor: Authenticator) -> str:
    return f"the passkey “{factor.wrap().name}”" if factor.type == "webauthn" else "the app for codes"


def forget_left_over(user: User) -> None:
    """Recovery codes end with what they stand in for."""
    if not has_second_factor(user):
        Authenticator.objects.filter(user=user).delete()


@never_cache
@open_without_second_factor
@fresh_sign_in
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """GET shows new codes, once; POST makes new ones, with which the old ones end."""
    user = signed_in(request)
    if not has_second_factor(user):
        messages.info(request, "Recovery codes stand in for a second factor. Set one up first.")
        return redirect("access:account")
    if request.method == "POST":
        with transaction.atomic():
            generate_recovery_codes(request)
            told(request, "made new recovery codes")
        return redirect("access:recovery-codes")
    codes, may_see = view_recovery_codes(request)
    if codes is None or not may_see:
        return redirect("access:account")
    return render(request, "access/recovery_codes.html", {"codes": codes.get_unused_codes()})
