"""What changes a container beyond one click: its limits, and making an image of it."""

from __future__ import annotations

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from containers import actions
from containers.access import get_container
from containers.change_forms import CommitForm, UpdateForm, present
from containers.committing import TAKES, VERB
from containers.inspecting import inspect_container
from containers.models import Container
from controlplane.access.decide import allows, require
from controlplane.access.middleware import signed_in
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.pages import page
from controlplane.lib.references import name_of, parse
from controlplane.operations import refusals
from controlplane.operations.audit import client_ip
from hosts.rules.errors import RulesBroken


def update(request: HttpRequest, pk: int) -> HttpResponse:
    """Limits and restarts of one container, as they are now; sent, an operation that changes what differs."""
    container = get_container(request.user, pk, "container.update")
    context = {"container": container, "error": "", "broken": None}
    if request.method == "POST":
        form = UpdateForm(request.POST, container=container)
        if form.is_valid():
            try:
                operation = actions.update(signed_in(request), container, form.changes, ip=client_ip(request))
                return redirect("operations:detail", pk=operation.pk)
            except InvalidArgument as exc:
                form.add_error(None, f"{exc.message} {exc.hint}")
            except RulesBroken as exc:
                context["broken"] = exc
                refusals.note(request.user, exc, f"{request.method} {request.path}")
    else:
        inspection = inspect_container(container, reveal=False)
        host = inspection.data.get("HostConfig")
        context |= {"error": inspection.error, "hint": inspection.hint}
        form = UpdateForm(initial=present(host if isinstance(host, dict) else {}), container=container)
    return _page(request, "containers/update.html", form, context)


def commit(request: HttpRequest, pk: int) -> HttpResponse:
    """Make an image of a container under a new name."""
    container = get_container(request.user, pk, VERB)
    for verb in TAKES:
        require(request.user, verb, container)
    may_pause = allows(request.user, "container.stop", container)
    context = {"container": container, "may_pause": may_pause, "broken": None}
    form = CommitForm(request.POST or None, initial={"reference": _another(container), "pause": may_pause})
    if request.method == "POST" and form.is_valid():
        try:
            operation = actions.commit(signed_in(request), container, ip=client_ip(request), **form.cleaned_data)
            return redirect("operations:detail", pk=operation.pk)
        except RulesBroken as exc:
            context["broken"] = exc
            refusals.note(request.user, exc, f"{request.method} {request.path}")
    return _page(request, "containers/commit.html", form, context)


def _page(request: HttpRequest, template: str, form: forms.Form, context: dict[str, object]) -> HttpResponse:
    wrong = form.errors or context["broken"]
    response = page(request, template, {"form": form, **context}, status=422 if wrong else 200)
    response["Cache-Control"] = "no-store"
    return response


def _another(container: Container) -> str:
    """A name to begin with: another tag of the repository that it was made from."""
    if not name_of(container.image_ref)[0]:
        return ""
    try:
        reference = parse(container.image_ref)
    except InvalidArgument:
        return ""
    return f"{reference.repository_familiar}:{reference.tag or 'copy'}{'-copy' if reference.tag else ''}"
