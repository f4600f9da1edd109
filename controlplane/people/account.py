"""Your account: who you are, what you prove it by, and where you are signed in."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.decorators.http import require_POST

from controlplane.access import sessions
from controlplane.access.middleware import signed_in
from controlplane.access.second_factor import second_factor_required
from controlplane.lib.lists import row_ids
from controlplane.lib.pages import page
from controlplane.operations.audit import client_ip
from controlplane.people import actions
from controlplane.people.actions import told
from controlplane.people.devices import device
from controlplane.people.forms import NameForm
from controlplane.people.identities import linkable, linked
from controlplane.people.sign_in import GUESSES, too_many


def account(request: HttpRequest) -> HttpResponse:
    """The page, and the change of one's name."""
    user = signed_in(request)
    form = NameForm(request.POST if "save_name" in request.POST else None, instance=user)
    if form.is_valid():
        actions.change_names(request, form)
        messages.success(request, "Saved.")
        return redirect("access:account")
    factors = list(Authenticator.objects.filter(user=user).order_by("pk"))
    recovery = next((each for each in factors if each.type == Authenticator.Type.RECOVERY_CODES), None)
    context = {
        "form": form,
        "app_factor": next((each for each in factors if each.type == Authenticator.Type.TOTP), None),
        "passkeys": [each for each in factors if each.type == Authenticator.Type.WEBAUTHN],
        "codes_left": len(recovery.wrap().get_unused_codes()) if recovery else None,
        "is_required": second_factor_required(user),
        "has_password": user.has_usable_password(),
        "identities": linked(request),
        "linkable": linkable(request),
        "sessions": [_shown(each, request) for each in sessions.open_sessions(user)],
    }
    return page(request, "access/account.html", context)


def _shown(session: sessions.BrowserSession, request: HttpRequest) -> dict[str, Any]:
    is_here = session.key == request.session.session_key
    return {"row": session, "device": device(session.agent), "is_here": is_here}


class ChangePassword(PasswordChangeView):
    """A new password; every other session of this person ends with the old one."""

    template_name = "access/password.html"
    success_url = reverse_lazy("access:account")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if GUESSES.count(*self._who()) > GUESSES.most:
            return too_many(request)
        return super().post(request, *args, **kwargs)

    def _who(self) -> tuple[str, str]:
        return signed_in(self.request).username.casefold(), client_ip(self.request) or ""

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        GUESSES.forget(*self._who())
        with transaction.atomic():
            response = super().form_valid(form)
            told(self.request, "changed the password")
            sessions.end_all(signed_in(self.request), but=self.request.session.session_key)
        messages.success(self.request, "Your password is changed, and your other sessions are signed out.")
        return response


@require_POST
def end_sessions(request: HttpRequest) -> HttpResponse:
    """Sign one browser out, or all of them: `session` is an id or "all"."""
    asked = request.POST.get("session", "")
    if asked == "all":
        actions.end_own_sessions(request)
        logout(request)
        return redirect("account_login")
    found = actions.own_sessions(request).filter(pk__in=row_ids([asked])).first()
    if found is None:
        messages.info(request, "That session has ended already.")
        return redirect("access:account")
    actions.end_own_session(request, found)
    is_here = found.key == request.session.session_key
    if is_here:
        logout(request)
    return redirect("account_login" if is_here else "access:account")
