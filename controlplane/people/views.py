"""Signing in, accepting an invitation, and the page of people."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from controlplane.access import actions
from controlplane.access.decide import require
from controlplane.access.middleware import signed_in
from controlplane.access.models import Invitation, User
from controlplane.lib.pages import page
from controlplane.lib.throttle import Throttle
from controlplane.operations.audit import audited, client_ip, record
from controlplane.operations.models import Outcome
from controlplane.people.forms import AccountForm, InviteForm, PersonForm

# Guesses of one name's password from one address. Somebody who mistypes it is not locked out from elsewhere.
GUESSES = Throttle("sign-in", most=10, seconds=300)


@method_decorator(login_not_required, name="dispatch")
class SignIn(LoginView):
    """The page where one signs in."""

    template_name = "access/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Counted before the password is looked at, so that guesses sent all at once are counted too.
        tried = GUESSES.count(*self._who())
        if tried > GUESSES.most:
            return self._refuse(tried == GUESSES.most + 1)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        GUESSES.forget(*self._who())
        return super().form_valid(form)

    def _refuse(self, first: bool) -> HttpResponse:
        name, ip = self._who()
        if first:
            detail = f"too many wrong passwords for “{name[:150]}”"
            record(AnonymousUser(), "access.sign-in", outcome=Outcome.REFUSED, detail=detail, ip=ip or None)
        response = render(self.request, "access/throttled.html", {"minutes": GUESSES.seconds // 60}, status=429)
        response["Retry-After"] = str(GUESSES.seconds)
        return response

    def _who(self) -> tuple[str, str]:
        name = unicodedata.normalize("NFKC", self.request.POST.get("username", "")).casefold().strip()
        return name, client_ip(self.request) or ""


@login_not_required
@never_cache
@sensitive_post_parameters()
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """Accept an invitation: the first administrator's printed link, or one made on the page of people."""
    invitation = actions.open_invitation(token)
    form = AccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            user = actions.accept_invitation(token, form.save(commit=False))
            audited(request, user, "access.join", user, detail=f"joined as {user.role}")
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
        return redirect("overview")
    context = {"form": form, "invitation": invitation}
    return render(request, "access/setup.html", context, status=422 if form.errors else 200)


def people(request: HttpRequest) -> HttpResponse:
    """Everybody who can sign in, and the invitations that are open."""
    require(request.user, "access.manage")
    context = {
        "people": User.objects.all(),
        "invitations": Invitation.objects.open().filter(created_by__isnull=False),
        "form": InviteForm(),
        "link": request.session.pop("invitation_link", None),
    }
    return page(request, "access/people.html", context)


@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    """Make a one-time link; it is shown once, on the page that follows."""
    require(request.user, "access.manage")
    form = InviteForm(request.POST)
    if form.is_valid():
        role = form.cleaned_data["role"]
        with transaction.atomic():
            invitation, token = Invitation.issue(role, created_by=signed_in(request))
            audited(request, request.user, "access.manage", invitation, detail=f"invited a {role}")
        link = request.build_absolute_uri(reverse("access:setup", args=[token]))
        request.session["invitation_link"] = link
    return redirect("access:people")


@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """End an open invitation."""
    require(request.user, "access.manage")
    with transaction.atomic():
        invitation = get_object_or_404(Invitation.objects.open(), pk=pk)
        Invitation.objects.filter(pk=pk).update(expires_at=timezone.now())
        audited(request, request.user, "access.manage", invitation, detail="withdrew an invitation")
    return redirect("access:people")


@require_POST
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """Change one person's role, or keep them out."""
    require(request.user, "access.manage")
    user = get_object_or_404(User, pk=pk)
    form = PersonForm(request.POST)
    if form.is_valid():
        role, active = form.cleaned_data["role"], form.cleaned_data["is_active"]
        with transaction.atomic():
            actions.set_role(user, role)
            actions.set_active(user, active)
            state = "active" if active else "deactivated"
            audited(request, request.user, "access.manage", user, detail=f"{user.username}: {role}, {state}")
        messages.success(request, f"{user.display} is now: {user.get_role_display()}, {state}.")
    return redirect("access:people")


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # SignInRequired lets nobody else through
    return request.user
