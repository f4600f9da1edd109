"""Accepting an invitation, and the page of people."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LogoutView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from controlplane.access import actions
from controlplane.access.decide import require
from controlplane.access.giving import EVERYTHING
from controlplane.access.models import Invitation, Role, User
from controlplane.lib.lists import listing
from controlplane.lib.pages import back, page, shown_once
from controlplane.operations.audit import audited
from controlplane.people import actions as people_actions
from controlplane.people.access import everybody
from controlplane.people.filters import PEOPLE_SORTS, PeopleFilter
from controlplane.people.forms import AccountForm, InviteForm, PersonForm, PolicyForm


class SignOut(LogoutView):
    """Ends the session."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if isinstance(request.user, User):
            audited(request, request.user, "access.sign-out", request.user, detail="signed out")
        return super().post(request, *args, **kwargs)


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
            audited(request, user, "access.join", user, detail=f"joined as {user.standing}")
        record_authentication(request, user, "password")
        return perform_login(request, Login(user=user, redirect_url=reverse("overview")))
    context = {"form": form, "invitation": invitation}
    return render(request, "access/setup.html", context, status=422 if form.errors else 200)


def people(request: HttpRequest) -> HttpResponse:
    """Everybody who can sign in, and the invitations that are open."""
    require(request.user, "access.manage", EVERYTHING)
    context = {
        "listing": listing(request, PeopleFilter, everybody(), sorts=PEOPLE_SORTS, default_sort="username"),
        "roles": Role.objects.all(),
        "invitations": Invitation.objects.open().filter(created_by__isnull=False),
        "form": InviteForm(),
        "link": shown_once(request, "invitation_link"),
    }
    return page(request, "access/people.html", context)


@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    """Make a one-time link; it is shown once, on the page that follows."""
    require(request.user, "access.manage", EVERYTHING)
    form = InviteForm(request.POST)
    if form.is_valid():
        _, link = people_actions.invite(request, form.cleaned_data["standing"])
        request.session["invitation_link"] = link
    return redirect("access:people")


@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """End an open invitation."""
    require(request.user, "access.manage", EVERYTHING)
    people_actions.withdraw(request, pk)
    return redirect("access:people")


@require_POST
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """Change one person's standing, or keep them out."""
    require(request.user, "access.manage", EVERYTHING)
    user = get_object_or_404(User, pk=pk, is_service=False)
    form = PersonForm(request.POST)
    if form.is_valid():
        standing, active = form.cleaned_data["standing"], form.cleaned_data["is_active"]
        user, state = people_actions.change_person(request, user, standing, active)
        messages.success(request, f"{user.display} is now: {user.get_standing_display()}, {state}.")
    return back(request, "access:people")


@require_POST
def end_sessions(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign somebody out everywhere."""
    require(request.user, "access.manage", EVERYTHING)
    user = get_object_or_404(User, pk=pk)
    people_actions.end_sessions(request, user)
    messages.success(request, f"{user.display} is signed out everywhere.")
    return back(request, "access:people")


@require_POST
def forget_factors(request: HttpRequest, pk: int) -> HttpResponse:
    """Take away all second factors of somebody who has lost them."""
    require(request.user, "access.manage", EVERYTHING)
    user = get_object_or_404(User, pk=pk)
    people_actions.forget_factors(request, user)
    messages.success(request, f"{user.display} signs in with the password alone now.")
    return back(request, "access:people")


@require_POST
def policies(request: HttpRequest) -> HttpResponse:
    """Say of which roles a second factor is asked."""
    require(request.user, "access.manage", EVERYTHING)
    form = PolicyForm(request.POST)
    if form.is_valid():
        people_actions.ask_second_factor(request, list(form.cleaned_data["roles"]))
        messages.success(request, "Saved. Who has to set one up is led there with the next click.")
    return redirect("access:people")
