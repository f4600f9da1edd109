"""Operations and the audit trail, to list, filter and open."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.decide import allows, fetch, require, visible
from controlplane.access.middleware import signed_in
from controlplane.lib.lists import listing
from controlplane.lib.pages import back, page
from controlplane.operations import actions, kinds, lifecycle
from controlplane.operations.audit import client_ip
from controlplane.operations.filters import AuditFilter, OperationFilter
from controlplane.operations.models import AuditEntry, Operation, State

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
    rows = visible(request.user, "operation.see", Operation.objects.select_related("host"))
    if not request.GET.get("q") and not request.GET.get("host"):
        rows = rows.filter(parent=None)
    context = {"listing": listing(request, OperationFilter, rows, sorts=SORTS, default_sort="-id")}
    return page(request, "operations/list.html", context)


def operation_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One operation: progress, output, error with its next step, children."""
    operation = _get(request, pk)
    kind = kinds.find(operation.kind)
    target = kind.find_target(operation) if kind else None
    too_late = bool(kind and kind.cancel_note and operation.state == State.RUNNING)
    context = {
        "operation": operation,
        "target_url": target.get_absolute_url() if target and hasattr(target, "get_absolute_url") else "",
        "waits_for": lifecycle.waits_for(operation),
        "children": operation.children.order_by("id"),
        "can_cancel": not operation.is_finished
        and not operation.cancel_requested
        and not too_late
        and allows(request.user, "operation.cancel", operation),
        "cancel_note": kind.cancel_note if kind and too_late else "",
        "can_retry": operation.is_finished
        and operation.state != State.SUCCEEDED
        and allows(request.user, kind.verb if kind else "operation.cancel", operation),
    }
    return page(request, "operations/detail.html", context)


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


def audit(request: HttpRequest) -> HttpResponse:
    """Who asked for what, newest first."""
    require(request.user, "audit.see")
    rows = AuditEntry.objects.select_related("operation")
    context = {
        "listing": listing(request, AuditFilter, rows, sorts={"id": ("id",)}, default_sort="-id"),
    }
    return page(request, "operations/audit.html", context)
