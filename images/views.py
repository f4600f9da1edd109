"""Images of all hosts: the list, pulling, removing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows, require
from controlplane.access.middleware import signed_in
from controlplane.lib.errors import Conflict
from controlplane.lib.lists import listing, row_ids
from controlplane.lib.pages import page
from controlplane.operations.audit import client_ip
from images import actions, catalogue
from images.access import key, seen_by, select
from images.filters import SORTS, ImageFilter
from images.forms import PullForm, RemoveForm
from images.models import ImageTag
from images.usage import users

MOST_SUGGESTIONS = 300


def image_list(request: HttpRequest) -> HttpResponse:
    """One list over all hosts, by name and image; search, filters, order and page are in the URL."""
    require(request.user, "image.see")
    found = listing(request, ImageFilter, catalogue.grouped(request.user), sorts=SORTS, default_sort="name")
    narrowed = found.filter.form.cleaned_data if found.filter.is_valid() else {}
    context = {
        "listing": found,
        "rows": catalogue.rows(
            request.user, found.rows, host=narrowed.get("host"), environment=narrowed.get("environment")
        ),
        "any": seen_by(request.user).exists(),
        "can_pull": allows(request.user, "image.pull"),
        "can_run": allows(request.user, "container.create"),
        "can_remove": allows(request.user, "image.delete"),
    }
    return page(request, "images/list.html", context)


def pull(request: HttpRequest) -> HttpResponse:
    """The form; `?reference=&host=` fill it in. Sent, it becomes one operation, or one with a child a host."""
    require(request.user, "image.pull")
    form = PullForm(request.POST or None, actor=request.user, initial=_prefilled(request))
    if request.method == "POST" and form.is_valid():
        operation = actions.pull(
            signed_in(request),
            form.cleaned_data["reference"],
            form.cleaned_data["chosen"],
            login=form.login,
            ip=client_ip(request),
        )
        return redirect("operations:detail", pk=operation.pk)
    known = seen_by(request.user).exclude(reference="").order_by("reference")
    context = {
        "form": form,
        "known_images": known.values_list("reference", flat=True).distinct()[:MOST_SUGGESTIONS],
        "any_host": form.permitted.exists(),
    }
    response = page(request, "images/pull.html", context, status=422 if form.errors else 200)
    response["Cache-Control"] = "no-store"
    return response


def _prefilled(request: HttpRequest) -> dict[str, Any]:
    return {"reference": request.GET.get("reference", ""), "hosts": row_ids(request.GET.getlist("host"))}


@require_POST
def remove(request: HttpRequest) -> HttpResponse:
    """First what the removal of `images` would hit, each with its host and users; then, confirmed, the removal."""
    require(request.user, "image.delete")
    selected = select(request.user, request.POST.getlist("images"))
    if not selected:
        raise Conflict("No image was selected, or it is not there any more.", "Select at least one.")
    for tag in selected:
        require(request.user, "image.delete", tag)
    form = RemoveForm(request.POST)
    if "confirmed" in request.POST and form.is_valid():
        operation = actions.remove(
            signed_in(request),
            selected,
            force=form.cleaned_data["force"],
            ip=client_ip(request),
        )
        messages.info(request, operation.title, extra_tags=f"operation-{operation.pk}")
        return redirect("operations:detail", pk=operation.pk)
    hits = _hits(request, selected)
    context = {
        "hits": hits,
        "in_use": sum(1 for hit in hits if hit["users"]),
        "podman": any(tag.host.engine_kind == "podman" for tag in selected),
        "form": RemoveForm(),
    }
    return page(request, "images/remove.html", context)


def _hits(request: HttpRequest, selected: list[ImageTag]) -> list[dict[str, Any]]:
    """For each name on a host: its key, its users there, and whether it can be asked for now."""
    using = users(request.user).filter(image_id__in={tag.image.engine_id for tag in selected})
    by_place = defaultdict(list)
    for user in using.order_by("name"):
        by_place[user.host_id, user.image_id].append(user)
    return [
        {
            "key": key(tag),
            "tag": tag,
            "users": by_place[tag.host_id, tag.image.engine_id],
            "known": tag.host.is_connected,
        }
        for tag in selected
    ]
