"""Running a new container: the form, and what becomes of it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from containers import actions
from containers.run_form import RunForm
from controlplane.access.decide import require, visible
from controlplane.access.middleware import signed_in
from controlplane.lib.lists import row_ids
from controlplane.lib.pages import page
from controlplane.operations.audit import client_ip
from images.models import ImageTag

MOST_SUGGESTIONS = 300
# What a link to this page may fill in.
PREFILLED = ("image", "host", "name", "network")


def run(request: HttpRequest) -> HttpResponse:
    """The form; `?image=&host=` fill it in. Sent, it is an operation; with errors it keeps what was typed."""
    require(request.user, "container.create")
    starts = request.POST.get("do") != "create"
    form = RunForm(request.POST or None, actor=request.user, starts=starts, initial=_prefilled(request))
    if request.method == "POST" and form.is_valid():
        operation = actions.run(
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
        return redirect("operations:detail", pk=operation.pk)
    context = {"form": form, "known_images": _known_images(request, form)}
    response = page(request, "containers/run.html", context, status=422 if form.errors else 200)
    response["Cache-Control"] = "no-store"
    return response


def _prefilled(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET[name] for name in PREFILLED if request.GET.get(name)}


def _known_images(request: HttpRequest, form: RunForm) -> list[str]:
    """References to suggest: those of the chosen host, else of all hosts."""
    tags = visible(request.user, "image.see", ImageTag.objects.exclude(reference=""))
    if hosts := row_ids([str(form["host"].value() or "")]):
        tags = tags.filter(host_id__in=hosts)
    names = tags.order_by("reference").values_list("reference", flat=True).distinct()
    return list(names[:MOST_SUGGESTIONS])
