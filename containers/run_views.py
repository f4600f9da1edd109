"""Running a new container: the form, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from containers import actions
from containers.access import get_container
from containers.duplicating import copy_container
from containers.run_form import RunForm
from controlplane.access.decide import allows, require, visible
from controlplane.access.middleware import signed_in
from controlplane.lib.lists import row_ids
from controlplane.lib.pages import page
from controlplane.operations import refusals
from controlplane.operations.audit import audited, client_ip
from controlplane.operations.models import Operation
from hosts.rules.errors import RulesBroken
from images.models import ImageTag

MOST_SUGGESTIONS = 300
# What a link to this page may fill in.
PREFILLED = ("image", "host", "name", "network")
Filling = tuple[dict[str, Any], dict[str, Any]]


def run(request: HttpRequest) -> HttpResponse:
    """The form; `?image=&host=` fill it in. Sent, it is an operation; with errors it keeps what was typed."""
    require(request.user, "container.create")
    return _answer(request, lambda _: (_prefilled(request), {}))


def duplicate(request: HttpRequest, pk: int) -> HttpResponse:
    """The same form, filled in from a container that is there; what it cannot say is told in words.

    The values of its variables are filled in for whoever may see them, which is written down.
    """
    container = get_container(request.user, pk, "container.create")
    require(request.user, "image.run", container)

    def filled(is_new: bool) -> Filling:
        copy = copy_container(request.user, container, reveal=allows(request.user, "container.secrets", container))
        if is_new and copy.tells_values:
            told = "revealed the environment to duplicate it"
            audited(request, request.user, "container.secrets", container, detail=told)
        return {"host": container.host_id, **copy.initial}, {"source": container, "copy": copy}

    return _answer(request, filled)


def _answer(request: HttpRequest, filled: Callable[[bool], Filling]) -> HttpResponse:
    """`filled`: asked for when the form is to be shown, with whether it is a new one: what a new one begins with, and
    what else its page needs."""
    starts = request.POST.get("do") != "create"
    form = RunForm(request.POST or None, actor=request.user, starts=starts)
    broken = None
    if request.method == "POST" and form.is_valid():
        try:
            operation = _start(request, form, starts)
        except RulesBroken as exc:
            broken = exc
            refusals.note(request.user, exc, f"{request.method} {request.path}")
        else:
            return redirect("operations:detail", pk=operation.pk)
    form.initial, more = filled(not form.is_bound)
    context = {"form": form, "broken": broken, "known_images": _known_images(request, form), **more}
    response = page(request, "containers/run.html", context, status=422 if form.errors or broken else 200)
    response["Cache-Control"] = "no-store"
    return response


def _start(request: HttpRequest, form: RunForm, starts: bool) -> Operation:
    return actions.run(
        signed_in(request),
        form.cleaned_data["host"],
        reference=form.cleaned_data["image"],
        name=form.cleaned_data["name"],
        body=form.spec().body(),
        start=starts,
        pull=form.cleaned_data["pull"],
        login=form.login,
        ip=client_ip(request),
    )


def _prefilled(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET[name] for name in PREFILLED if request.GET.get(name)}


def _known_images(request: HttpRequest, form: RunForm) -> list[str]:
    """References to suggest: those of the chosen host, else of all hosts."""
    tags = visible(request.user, "image.see", ImageTag.objects.exclude(reference=""))
    if hosts := row_ids([str(form["host"].value() or "")]):
        tags = tags.filter(host_id__in=hosts)
    names = tags.order_by("reference").values_list("reference", flat=True).distinct()
    return list(names[:MOST_SUGGESTIONS])
