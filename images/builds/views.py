"""Builds: the list, the form, one build's page, and what can be asked of it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows, fetch, require, visible
from controlplane.access.middleware import signed_in
from controlplane.access.models import User
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.lists import listing, row_ids
from controlplane.lib.pages import page
from controlplane.operations import lifecycle
from controlplane.operations.access import seen_by as operations_seen
from controlplane.operations.access import seen_of, seen_one
from controlplane.operations.audit import client_ip
from hosts.models import Host
from images.access import place_at
from images.builds import actions, comparing, lint, picture
from images.builds.access import builds, names_seen, with_names, without_unseen
from images.builds.asked import Options, Source
from images.builds.filters import SORTS, BuildFilter
from images.builds.forms import BuildForm, initial_like, read_json
from images.builds.models import HEAVY, Build
from images.usage import users


def get_build(request: HttpRequest, pk: int, verb: str = "image.see") -> Build:
    rows = Build.objects.select_related("operation__host", "definition")
    return fetch(request.user, verb, rows, see="image.see", operation__in=row_ids([str(pk)]))


def build_list(request: HttpRequest) -> HttpResponse:
    """Every build, the newest first."""
    require(request.user, "image.see")
    every = builds(request.user)
    rows = every.select_related("operation__host", "definition").defer(*HEAVY, "layers", "operation__params")
    found = listing(request, BuildFilter, rows, sorts=SORTS, default_sort="-id")
    context = {
        "listing": found,
        "rows": with_names(request.user, found.rows),
        "any": every.exists(),
        "can_build": allows(request.user, "image.build"),
    }
    return page(request, "builds/list.html", context)


def new(request: HttpRequest) -> HttpResponse:
    """The form; `?like=ID` begins with what that build was asked."""
    require(request.user, "image.build")
    actor = signed_in(request)
    form = BuildForm(request.POST or None, actor=actor, initial=_initial(request))
    if request.method == "POST" and form.is_valid():
        try:
            operation = actions.start(actor, form.source, form.options, ip=client_ip(request))
        except InvalidArgument as exc:
            form.add_error(None, f"{exc.message} {exc.hint}".strip())
        else:
            return redirect("builds:detail", pk=operation.pk)
    context = {"form": form, "any_host": any_host(actor), "is_definition": False}
    return page(request, "builds/new.html", context, status=422 if form.errors else 200)


def _initial(request: HttpRequest) -> dict[str, Any]:
    like = row_ids([request.GET.get("like", "")])
    if not like:
        return {}
    build = get_build(request, like[0])
    return initial_like(request.user, build)


def any_host(actor: User) -> bool:
    """Whether there is a host to build on, for `actor`."""
    return visible(actor, "image.build", Host.objects.exclude(public_key="")).exists()


def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One build: its stages as a picture, its output, what it made and where that runs."""
    build = get_build(request, pk)
    operation = build.operation
    before = build.before(builds(request.user)) if build.image_id else None
    pushes = operations_seen(request.user).filter(kind="image.push", params__build=operation.pk).order_by("-id")
    waits_for = lifecycle.waits_for(operation)
    without_unseen(request.user, [each for each in (build, before) if each])
    context = {
        "build": build,
        "tags": names_seen(request.user, operation.host, build.tags),
        "retry_of": seen_one(request.user, operation.retry_of_id),
        "operation": operation,
        "source": Source.of_json(build.source),
        "options": Options.of_json(build.options),
        "picture": picture.draw(build),
        "lines": picture.numbered(build),
        "waits": bool(waits_for),
        "waits_for": seen_of(request.user, waits_for),
        "before": before,
        "grown": (build.size or 0) - (before.size or 0) if before else None,
        "running": _containers(request, build),
        "pushes": pushes,
        "failed_push": pushes[0] if pushes and pushes[0].went_wrong else None,
        **_may(request, build),
    }
    return page(request, "builds/detail.html", context)


def _containers(request: HttpRequest, build: Build) -> list[Any]:
    """Those made from its image, on whatever host."""
    if not build.image_id:
        return []
    return list(users(request.user).filter(image_id=build.image_id).select_related("host")[:50])


def _may(request: HttpRequest, build: Build) -> dict[str, bool]:
    operation = build.operation
    host = operation.host
    may_build = all(allows(request.user, "image.build", each) for each in (host, build) if each)
    places = [place_at(host, tag) for tag in build.tags] if host else []
    return {
        "can_cancel": not operation.is_finished
        and not operation.cancel_requested
        and allows(request.user, "operation.cancel", operation),
        "can_rebuild": operation.is_finished and may_build,
        "can_push": bool(build.image_id and places)
        and all(allows(request.user, "image.push", place) for place in places),
        "can_run": bool(build.image_id and host)
        and all(allows(request.user, verb, build) for verb in ("container.create", "image.run")),
    }


@require_POST
def rebuild(request: HttpRequest, pk: int) -> HttpResponse:
    build = get_build(request, pk)
    operation = actions.rebuild(signed_in(request), build, ip=client_ip(request))
    return redirect("builds:detail", pk=operation.pk)


@require_POST
def push(request: HttpRequest, pk: int) -> HttpResponse:
    build = get_build(request, pk)
    operation = actions.push(signed_in(request), build, ip=client_ip(request))
    messages.info(request, operation.title, extra_tags=f"operation-{operation.pk}")
    return redirect("builds:detail", pk=pk)


def compare(request: HttpRequest, pk: int) -> HttpResponse:
    """Two builds side by side; `?with=ID`, else the one before."""
    build = get_build(request, pk)
    other = other_of(request, build, next(iter(row_ids([request.GET.get("with", "")])), None))
    rows = builds(request.user).select_related("operation", "definition").defer(*HEAVY)
    near = list(rows.filter(definition=build.definition_id).exclude(pk=build.pk)[:50])
    without_unseen(request.user, [*near, *(each for each in (build, other) if each)])
    context = {
        "build": build,
        "other": other,
        "near": near,
        "found": comparing.compare(other, build, names=names_of(request)) if other else None,
    }
    return page(request, "builds/compare.html", context)


def other_of(request: HttpRequest, build: Build, pk: int | None) -> Build | None:
    """The build that `build` is held beside: that of `pk`, else the one before, if there is one."""
    return get_build(request, pk) if pk else build.before(builds(request.user))


def names_of(request: HttpRequest) -> comparing.Names:
    """Of the names a build was to give, those the person may see."""
    return lambda build: names_seen(request.user, build.operation.host, build.options.get("tags", []))


@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Lint for the editor, as one types: {"dockerfile"} → {"diagnostics": […]}."""
    require(request.user, "image.build")
    text = read_json(request.body).get("dockerfile")
    if not isinstance(text, str):
        raise InvalidArgument("Expected the text of a Dockerfile.")
    found = lint.lint(text) if text.strip() else []
    return JsonResponse({"diagnostics": [each.as_json() for each in found]})
