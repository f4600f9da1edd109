"""Roles: the list, one with its rights and who has it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from controlplane.access.decide import allows
from controlplane.access.giving import EVERYTHING, manageable, require_everywhere
from controlplane.access.middleware import signed_in
from controlplane.access.models import Role
from controlplane.access.roles import ALL_VERBS
from controlplane.granting import access, actions
from controlplane.granting.forms import RoleForm, verbs_by_kind
from controlplane.granting.shared import removal, say
from controlplane.granting.words import count_with
from controlplane.lib.errors import GantryError
from controlplane.lib.lists import row_ids
from controlplane.lib.pages import page


def roles(request: HttpRequest) -> HttpResponse:
    """Every role, and how often it is granted."""
    context = {
        "roles": access.roles(signed_in(request)),
        "can_manage": allows(request.user, "access.manage", EVERYTHING),
        "total": len(ALL_VERBS),
    }
    return page(request, "access/roles.html", context)


def new(request: HttpRequest) -> HttpResponse:
    """A role of one's own; `?like=` (an id) begins with another's rights."""
    require_everywhere(signed_in(request))
    like = Role.objects.filter(pk__in=row_ids(request.GET.getlist("like")[:1])).first()
    form = RoleForm(request.POST or None, initial={"verbs": sorted(like.known_verbs)} if like else {})
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            made = actions.create_role(request, data["name"], data["description"], data["verbs"])
            messages.success(request, f"The role {made.name} is made. Nobody has it yet.")
            return redirect("grants:role", pk=made.pk)
        except GantryError as exc:
            say(form, exc)
    return page(request, "access/role.html", _context(form, None), status=422 if form.errors else 200)


def _context(form: RoleForm, role: Role | None) -> dict[str, Any]:
    ticked = form.ticked
    kinds = verbs_by_kind().items()
    return {
        "form": form,
        "role": role,
        "kinds": [(kind, [(verb, words, verb in ticked) for verb, words in verbs]) for kind, verbs in kinds],
        "can_manage": True,
    }


def role(request: HttpRequest, pk: int) -> HttpResponse:
    """One role: its rights, the grants of it that one manages; to change, unless it is built in."""
    user = signed_in(request)
    found = access.get_role(user, pk)
    name = found.name
    form = RoleForm(request.POST or None, instance=found)
    if request.method == "POST":
        require_everywhere(user)
        if form.is_valid() and _change(request, found, form):
            return redirect("grants:role", pk=pk)
    grants = manageable(user).filter(role_id=pk).select_related("user", "team", "role").prefetch_related("environments")
    context = {
        **_context(form, found),
        "name": name,
        "grants": grants[:50],
        "grant_count": manageable(user).filter(role_id=pk).count(),
        "people_count": count_with(user, found),
        "unknown": sorted(set(found.verbs) - ALL_VERBS),
        "can_manage": allows(user, "access.manage", EVERYTHING) and not found.built_in,
        "can_copy": allows(user, "access.manage", EVERYTHING),
    }
    return page(request, "access/role.html", context, status=422 if form.errors else 200)


def _change(request: HttpRequest, found: Role, form: RoleForm) -> bool:
    data = form.cleaned_data
    try:
        changed = actions.change_role(request, found, data["name"], data["description"], data["verbs"])
    except GantryError as exc:
        say(form, exc)
        return False
    count = count_with(signed_in(request), changed)
    messages.success(request, f"The role {changed.name} is changed, for {count} people.")
    return True


# Refused while somebody has it.
remove = removal(access.get_role, actions.remove_role, "grants:roles")
