"""Build definitions: the list, the form, one's history and triggers; and the webhook itself."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows, fetch, require
from controlplane.access.middleware import signed_in
from controlplane.lib.errors import GantryError, InvalidArgument
from controlplane.lib.lists import listing
from controlplane.lib.pages import page, shown_once
from controlplane.operations.audit import client_ip
from images.builds import actions, triggers
from images.builds.access import builds as builds_seen
from images.builds.access import definitions, names_seen, require_every_name, with_names
from images.builds.asked import Options, Source
from images.builds.filters import DEFINITION_SORTS, DefinitionFilter
from images.builds.forms import DefinitionForm, initial_like, initial_of
from images.builds.models import HEAVY, Build, Definition
from images.builds.views import any_host, get_build

MOST_SHOWN = 30
NEW_SECRET = "builds-hook-secret"  # of the session: shown once


def _get(request: HttpRequest, slug: str, verb: str = "image.see") -> Definition:
    return fetch(
        request.user, verb, Definition.objects.select_related("owner", "host", "image_name"), see="image.see", slug=slug
    )


def definition_list(request: HttpRequest) -> HttpResponse:
    """Definitions with the last build of each that is seen; search, filters, order and page are in the URL."""
    require(request.user, "image.see")
    rows = definitions(request.user).select_related("host", "image_name")
    found = listing(request, DefinitionFilter, rows, sorts=DEFINITION_SORTS, default_sort="name")
    of_page = builds_seen(request.user).filter(definition__in=[row.pk for row in found.rows]).order_by()
    counted = {row["definition"]: row for row in of_page.values("definition").annotate(last=Max("pk"), n=Count("pk"))}
    lasts = Build.objects.select_related("operation", "definition").defer(*HEAVY, "layers")
    builds = lasts.in_bulk([row["last"] for row in counted.values()])
    for row in found.rows:
        seen = counted.get(row.pk, {"last": None, "n": 0})
        row.last, row.count = builds.get(seen["last"]), seen["n"]
        row.may_build = allows(request.user, "image.build", row)
    context = {"listing": found, "can_build": allows(request.user, "image.build")}
    return page(request, "builds/definitions.html", context)


def definition(request: HttpRequest, slug: str) -> HttpResponse:
    """One: what it does, what starts it, its builds."""
    found = _get(request, slug)
    options = Options.of_json(found.options)
    options.tags = names_seen(request.user, found.host, options.tags)
    seen = builds_seen(request.user).filter(definition=found)
    context = {
        "definition": found,
        "source": Source.of_json(found.source),
        "options": options,
        "builds": with_names(
            request.user,
            seen.select_related("operation__host", "definition").defer(*HEAVY, "layers")[:MOST_SHOWN],
        ),
        "total": seen.count(),
        "hook_url": _hook_url(request, found),
        "new_secret": shown_once(request, f"{NEW_SECRET}-{found.pk}") or "",
        "can_build": allows(request.user, "image.build", found),
    }
    response = page(request, "builds/definition.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _hook_url(request: HttpRequest, found: Definition) -> str:
    path = reverse("builds:hook", args=[found.slug])
    return f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else request.build_absolute_uri(path)


def edit(request: HttpRequest, slug: str = "") -> HttpResponse:
    """The form, for a new one (`?like=ID`: from a build) or to change one."""
    require(request.user, "image.build")
    actor = signed_in(request)
    found = _get(request, slug) if slug else Definition()
    if slug:
        require_every_name(actor, found)
    form = DefinitionForm(request.POST or None, actor=actor, definition=found, initial=_initial(request, found))
    if request.method == "POST" and form.is_valid():
        try:
            saved = actions.save_definition(actor, form.fill(), ip=client_ip(request))
        except InvalidArgument as exc:
            form.add_error(None, f"{exc.message} {exc.hint}".strip())
        else:
            return redirect(saved)
    context = {"form": form, "definition": found if slug else None, "is_definition": True, "any_host": any_host(actor)}
    return page(request, "builds/new.html", context, status=422 if form.errors else 200)


def _initial(request: HttpRequest, found: Definition) -> dict[str, Any]:
    if found.pk:
        kept = {name: getattr(found, name) for name in ("name", "concurrency", "schedule", "follows_base")}
        return kept | initial_of(request.user, Source.of_json(found.source), Options.of_json(found.options))
    like = request.GET.get("like", "")
    if like.isascii() and like.isdecimal() and len(like) < 19:
        build = get_build(request, int(like))
        return initial_like(request.user, build)
    return {}


@require_POST
def build_now(request: HttpRequest, slug: str) -> HttpResponse:
    found = _get(request, slug)
    operation = actions.start_defined(signed_in(request), found, ip=client_ip(request))
    return redirect("builds:detail", pk=operation.pk)


@require_POST
def delete(request: HttpRequest, slug: str) -> HttpResponse:
    found = _get(request, slug, "image.build")
    actions.delete_definition(signed_in(request), found, ip=client_ip(request))
    messages.success(request, f"The definition {found.name} is deleted; its builds stay.")
    return redirect("builds:definitions")


@require_POST
def hook_secret(request: HttpRequest, slug: str) -> HttpResponse:
    """A new secret, shown once on the page that follows; `do=off` ends the webhook."""
    found = _get(request, slug, "image.build")
    on = request.POST.get("do") != "off"
    secret = actions.renew_hook(signed_in(request), found, on=on, ip=client_ip(request))
    if secret:
        request.session[f"{NEW_SECRET}-{found.pk}"] = secret
    return redirect(found)


@csrf_exempt
@login_not_required
@require_POST
def hook(request: HttpRequest, slug: str) -> HttpResponse:
    """A git server tells of a push: 202 with the operation, 200 when it starts nothing, else why not."""
    try:
        found = triggers.hooked(slug, request.headers, request.body, client_ip(request))
    except GantryError as exc:
        return JsonResponse({"message": exc.message, "hint": exc.hint}, status=exc.status)
    if isinstance(found, str):
        return JsonResponse({"built": False, "message": found})
    return JsonResponse({"built": True, "operation": found.pk}, status=202)
