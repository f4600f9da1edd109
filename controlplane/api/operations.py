"""Operations: what was asked for, how it went, what it said."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema
from pydantic import ConfigDict, Field

from controlplane.access.decide import fetch, require
from controlplane.api import streams
from controlplane.api.common import Ref, accepted, caller, ip_of
from controlplane.api.paging import Page, paged, query_of
from controlplane.operations import actions, lifecycle
from controlplane.operations.access import seen_by, seen_of, tops
from controlplane.operations.filters import OperationFilter
from controlplane.operations.models import Operation
from controlplane.operations.views import SORTS

router = Router(tags=["operations"])


class Target(Schema):
    """What it is about: a container, an image, a build."""

    kind: str
    id: str
    name: str


class OperationOut(Schema):
    """One change that was asked for."""

    id: int
    kind: str
    title: str
    state: str
    actor: str
    host: Ref | None
    target: Target
    percent: int | None
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str
    hint: str
    parent: int | None
    retry_of: int | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @staticmethod
    def resolve_actor(row: Operation) -> str:
        return row.actor_name

    @staticmethod
    def resolve_target(row: Operation) -> dict[str, str]:
        return {"kind": row.target_kind, "id": row.target_id, "name": row.target_name}

    @staticmethod
    def resolve_parent(row: Operation) -> int | None:
        return row.parent_id

    @staticmethod
    def resolve_retry_of(row: Operation) -> int | None:
        return row.retry_of_id


class Waiting(Schema):
    """An operation before this one."""

    id: int
    title: str


class OperationDetail(OperationOut):
    """With what it waits for, the first to run first, as far as it is seen. `waits`: whether it waits for any."""

    waits: bool
    waits_for: list[Waiting]


OperationQuery = query_of("OperationQuery", OperationFilter, SORTS, "-id")
ChildrenQuery = query_of("ChildrenQuery", OperationFilter, SORTS, "id")


class OutputQuery(Schema):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=-1, le=2**31 - 1, description="The `seq` one has already.")] = -1
    follow: Annotated[bool, Field(description="Wait for more until it ends.")] = False


def without_unseen(request: HttpRequest, operations: Iterable[Operation]) -> list[Operation]:
    """Each without the parent, and the one it is a retry of, that the caller does not see: in one query."""
    found = list(operations)
    around = {pk for each in found for pk in (each.parent_id, each.retry_of_id) if pk}
    seen = set(seen_by(request.user).filter(pk__in=around).values_list("pk", flat=True)) if around else set()
    for each in found:
        each.parent_id = each.parent_id if each.parent_id in seen else None
        each.retry_of_id = each.retry_of_id if each.retry_of_id in seen else None
    return found


def _get(request: HttpRequest, pk: int, verb: str = "operation.see") -> Operation:
    return fetch(request.user, verb, Operation.objects.select_related("host"), see="operation.see", pk=pk)


@router.get("", response=Page[OperationOut], operation_id="list_operations")
def list_operations(request: HttpRequest, query: Query[OperationQuery]) -> Any:  # type: ignore[valid-type]
    """Operations, the newest first. Those of a bulk action are found by its `children`, a search or a host."""
    require(request.user, "operation.see")
    whole = query.q or query.host  # type: ignore[attr-defined]
    rows = (seen_by(request.user) if whole else tops(request.user)).select_related("host")
    shown = functools.partial(without_unseen, request)
    return paged(request, OperationFilter, rows, query, sorts=SORTS, rows=shown)


@router.get("/{int:pk}", response=OperationDetail, operation_id="get_operation")
def get_operation(request: HttpRequest, pk: int) -> Any:
    """One operation."""
    found = without_unseen(request, [_get(request, pk)])[0]
    before = lifecycle.waits_for(found)
    found.waits = bool(before)  # type: ignore[attr-defined]
    found.waits_for = seen_of(request.user, before)  # type: ignore[attr-defined]
    return found


@router.get("/{int:pk}/children", response=Page[OperationOut], operation_id="list_children")
def list_children(request: HttpRequest, pk: int, query: Query[ChildrenQuery]) -> Any:  # type: ignore[valid-type]
    """The operations that a bulk action is made of."""
    children = seen_by(request.user).filter(parent=_get(request, pk)).select_related("host")
    shown = functools.partial(without_unseen, request)
    return paged(request, OperationFilter, children, query, sorts=SORTS, rows=shown)


@router.get("/{int:pk}/output", operation_id="get_output", openapi_extra=streams.DESCRIBED)
def get_output(request: HttpRequest, pk: int, query: Query[OutputQuery]) -> HttpResponseBase:
    """What it has said, from the start or behind `after`; with `follow`, as it comes until it ends."""
    operation = _get(request, pk)
    source = streams.output(operation, query.after, follow=query.follow)
    return streams.respond(request, source, lambda actor: fetch_again(actor, pk))


def fetch_again(actor: Any, pk: int) -> object:
    return fetch(actor, "operation.see", Operation.objects.all(), see="operation.see", pk=pk)


@router.post("/{int:pk}/cancel", response={202: OperationOut}, operation_id="cancel_operation")
def cancel_operation(request: HttpRequest, response: HttpResponse, pk: int) -> Any:
    """Ask it to end."""
    operation = _get(request, pk, "operation.cancel")
    actions.cancel(caller(request), operation, ip=ip_of(request))
    operation.refresh_from_db()
    return accepted(response, operation)


@router.post("/{int:pk}/retry", response={202: OperationOut}, operation_id="retry_operation")
def retry_operation(request: HttpRequest, response: HttpResponse, pk: int) -> Any:
    """The same once more, as a new operation."""
    return accepted(response, actions.retry(caller(request), _get(request, pk), ip=ip_of(request)))
