"""Grants: the list, making, changing and removing one, and what one would cover."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access import grant_actions
from controlplane.access.decide import require
from controlplane.access.giving import managed
from controlplane.access.middleware import signed_in
from controlplane.access.models import Grant, Role
from controlplane.granting import access, actions
from controlplane.granting.covering import preview_of
from controlplane.granting.filters import SORTS, GrantFilter
from controlplane.granting.forms import GrantForm
from controlplane.granting.words import described, holder_of, people_with
from controlplane.lib.lists import listing, row_ids
from controlplane.lib.pages import page


def grants(request: HttpRequest) -> HttpResponse:
    """Every grant that lies within what one manages; the ended ones too."""
    user = signed_in(request)
    context = {
        "listing": listing(request, GrantFilter, access.grants(user), sorts=SORTS, default_sort="-id"),
        "is_partial": managed(user) is not None,
    }
    return page(request, "access/grants.html", context)


def new(request: HttpRequest) -> HttpResponse:
    """Grant a role to somebody, somewhere. What it covers is shown before."""
    require(request.user, "access.manage")
    user = signed_in(request)
    form = GrantForm(request.POST or None, actor=user, initial=_asked_for(request))
    if request.method == "POST" and form.is_valid():
        made = actions.give(request, form.to, form.asked())
        messages.success(request, f"Granted: {described(made)}.")
        return redirect("grants:list")
    context = {"form": form, "grant": None, **_preview(request, form)}
    return page(request, "access/grant.html", context, status=422 if form.errors else 200)


def _asked_for(request: HttpRequest) -> dict[str, Any]:
    """What the address fills in: ?to=team:3&role=2"""
    return {"holder": request.GET.get("to", ""), "role": request.GET.get("role", "")}


def grant(request: HttpRequest, pk: int) -> HttpResponse:
    """One grant: what it covers, who has it; to change."""
    user = signed_in(request)
    found = access.get_grant(user, pk)
    initial = {
        "role": found.role_id,
        "every_environment": found.every_environment,
        "environments": [each.pk for each in found.environments.all()],
        "repositories": found.repositories,
        "tags": found.tags,
        "expires_at": found.expires_at,
        "reason": found.reason,
    }
    form = GrantForm(request.POST or None, actor=user, holder_stays=True, initial=initial)
    if request.method == "POST" and form.is_valid():
        changed = actions.change_grant(request, found, form.asked())
        messages.success(request, f"Changed: {described(changed)}.")
        return redirect("grants:list")
    context = {
        "form": form,
        "grant": found,
        "holder": holder_of(found),
        "people": people_with(found),
        "people_count": found.team.members.count() if found.team else 1,
        **_preview(request, form, found),
    }
    return page(request, "access/grant.html", context, status=422 if form.errors else 200)


@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """What the form, as it stands, would cover."""
    require(request.user, "access.manage")
    form = GrantForm(request.POST, actor=signed_in(request))
    return page(request, "access/grant.html", {"form": form, "grant": None, **_preview(request, form)})


def _preview(request: HttpRequest, form: GrantForm, grant: Grant | None = None) -> dict[str, Any]:
    """For the fragment beside the form: words, counts, and the rights that one lacks oneself to give."""
    user = signed_in(request)
    if form.is_bound:
        form.is_valid()
        data, environments = form.cleaned_data, form.places
        repositories, tags, role = data.get("repositories"), data.get("tags"), data.get("role")
        until = data.get("expires_at")
    else:
        repositories, tags = (grant.repositories, grant.tags) if grant else (["**"], ["*"])
        role = grant.role if grant else Role.objects.filter(pk__in=row_ids([str(form.initial["role"])])).first()
        environments = grant_actions.environments_of(grant) if grant else frozenset()
        until = grant.expires_at if grant else None
    return preview_of(user, role, repositories, tags, environments, until)


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a grant away: open terminals and streams that it allowed end within seconds."""
    said = actions.remove_grant(request, access.get_grant(signed_in(request), pk))
    messages.success(request, f"Removed: {said}.")
    return redirect("grants:list")
