"""Credentials: listed by name, added, changed, deleted. What one holds is never shown."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows, require
from controlplane.access.middleware import signed_in
from controlplane.lib.pages import page
from controlplane.operations.audit import client_ip
from images.builds import actions
from images.builds.access import get_credential, managed_credentials
from images.builds.forms import CredentialForm
from images.builds.models import Credential


def credential_list(request: HttpRequest) -> HttpResponse:
    require(request.user, "registry.manage")
    users = actions.users_by_name()
    rows = [
        (each, [user for user in users.get(each.name, []) if allows(request.user, "image.see", user)])
        for each in managed_credentials(request.user)
    ]
    return page(request, "builds/credentials.html", {"rows": rows})


def edit(request: HttpRequest, name: str = "") -> HttpResponse:
    """The form, for a new one (`?kind=` chooses) or to change one; an empty secret then keeps the one there is."""
    require(request.user, "registry.manage")
    found = get_credential(request.user, name) if name else Credential()
    initial = {
        "name": found.name,
        "kind": found.kind or request.GET.get("kind", ""),
        "server": found.server,
        "username": found.username,
        "known_hosts": found.known_hosts,
        "environment": found.environment_id,
    }
    form = CredentialForm(request.POST or None, credential=found, actor=request.user, initial=initial)
    if request.method == "POST" and form.is_valid():
        saved = actions.save_credential(signed_in(request), form.fill(), ip=client_ip(request))
        messages.success(request, f"The credential {saved.name} is kept, sealed.")
        return redirect("builds:credentials")
    response = page(
        request,
        "builds/credential.html",
        {"form": form, "credential": found if name else None},
        status=422 if form.errors else 200,
    )
    response["Cache-Control"] = "no-store"
    return response


@require_POST
def delete(request: HttpRequest, name: str) -> HttpResponse:
    found = get_credential(request.user, name)
    actions.delete_credential(signed_in(request), found, ip=client_ip(request))
    messages.success(request, f"The credential {name} is deleted.")
    return redirect("builds:credentials")
