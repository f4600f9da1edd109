"""Operations, to list, filter and open."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import Target, allows, fetch, require
from controlplane.access.middleware import signed_in
from controlplane.access.reach import Place
from controlplane.lib.lists import listing
from controlplane.lib.pages import back, page
from controlplane.operations import actions, kinds, lifecycle
from controlplane.operations.access import seen_by, seen_of, seen_one, tops
from controlplane.operations.audit import client_ip
from controlplane.operations.filters import OperationFilter
from controlplane.operations.models import Operation, State

SORTS = {
    "id": ("id",),
    "kind": ("kind", "-id"),
    "state": ("state", "-id"),
    "host": ("host_name", "-id"),
    "who": ("actor_name", "-id"),
}


def _get(request: HttpRequest, pk: int, verb: str = "operation.see") -> Operation:
    return fetch(request.user, verb, Operation.objects.all(), see="operation.see", pk=pk)


def operation_list(request: HttpRequest) -> HttpResponse:
    """All operations, newest first; children of bulk actions are seen on their parent's page."""
    require(request.user, "operation.see")
    whole = request.GET.get("q") or request.GET.get("host")
    rows = (seen_by(request.user) if whole else tops(request.user)).select_related("host")
    context = {"listing": listing(request, OperationFilter, rows, sorts=SORTS, default_sort="-id")}
    return page(request, "operations/list.html", context)


def operation_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One operation: progress, output, error with its next step, and what of its parts and relatives is seen."""
    operation = _get(request, pk)
    kind = kinds.find(operation.kind)
    target = kind.find_target(operation) if kind else None
    waits_for = lifecycle.waits_for(operation)
    seen = seen_by(request.user)
    too_late = bool(kind and kind.cancel_note and operation.state == State.RUNNING)
    context = {
        "operation": operation,
        "target_url": _url(request, target) if target else "",
        "waits": bool(waits_for),
        "waits_in_lane": bool(waits_for and operation.lane and waits_for[0].lane == operation.lane),
        "waits_for": seen_of(request.user, waits_for),
        "parent": seen_one(request.user, operation.parent_id),
        "retry_of": seen_one(request.user, operation.retry_of_id),
        "retries": seen.filter(retry_of=operation).order_by("id"),
        "children": seen.filter(parent=operation).order_by("id"),
        "can_cancel": not operation.is_finished
        and not operation.cancel_requested
        and not too_late
        and allows(request.user, "operation.cancel", operation),
        "cancel_note": kind.cancel_note if kind and too_late else "",
        "can_retry": operation.is_finished and operation.state != State.SUCCEEDED and _may_do_again(request, operation),
    }
    return page(request, "operations/detail.html", context)


def _may_do_again(request: HttpRequest, operation: Operation) -> bool:
    kind = kinds.find(operation.kind)
    if kind is None:  # of a bulk action, each part is asked for when it is
        return allows(request.user, "operation.cancel", operation)
    return all(allows(request.user, kind.verb, each) for each in kind.targets(operation))


def _url(request: HttpRequest, target: Target) -> str:
    """The page of what an operation is about, where it has one that is seen."""
    if isinstance(target, Place) or not hasattr(target, "get_absolute_url"):
        return ""
    see = {"container": "container.see", "build": "image.see"}.get(target._meta.model_name or "")
    return str(target.get_absolute_url()) if see and allows(request.user, see, target) else ""


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask an operation to end."""
    operation = _get(request, pk, "operation.cancel")
    actions.cancel(signed_in(request), operation, ip=client_ip(request))
    return back(request, "operations:detail", pk=pk)


@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """The same once more."""
    operation = _get(request, pk)
    again = actions.retry(signed_in(request), operation, ip=client_ip(request))
    messages.info(request, f"Started again as operation {again.pk}.")
    return redirect("operations:detail", pk=again.pk)
