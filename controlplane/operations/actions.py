"""Verbs on operations that a person asks for: start, cancel, retry. Each is one transaction with its audit row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import current_app
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from controlplane.access.decide import require
from controlplane.access.models import User
from controlplane.lib.errors import Conflict
from controlplane.lib.live import publish
from controlplane.operations import kinds, lifecycle
from controlplane.operations.audit import gathered, record
from controlplane.operations.models import UNFINISHED, Operation, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What one operation is to do. `host` is a hosts.Host or None; `target` is (kind, id, name); `image` the id of the
    ImageName it is about, by which those are found who may see it."""

    kind: str
    title: str
    host: Any = None
    target: tuple[str, str, str] = ("", "", "")
    params: dict[str, Any] = field(default_factory=dict)
    lane: str = ""
    image: int | None = None


def enqueue(*operation_ids: int) -> None:
    """Hand ids to the workers. A broker that is away loses nothing: the sweeper hands them out again."""
    for operation_id in operation_ids:
        try:
            current_app.send_task("operations.run", [operation_id], expires=60, retry=False)
        except OperationalError as exc:
            log.warning("operation %s waits for the sweeper, the broker is away: %s", operation_id, exc)
            return


def start(actor: User, request: Request, *, ip: str | None = None, **links: Any) -> Operation:
    """Create the operation with its audit entry and enqueue it on commit.

    The caller has asked `access` already. `links`: `parent`, `retry_of`.
    """
    with transaction.atomic(), gathered():
        operation = _create(actor, request, ip, **links)
        transaction.on_commit(lambda: enqueue(operation.pk))
        publish("operations")
    return operation


def start_many(actor: User, title: str, requests: Sequence[Request], *, ip: str | None = None) -> Operation:
    """One operation for each request under a parent that sums them up; a single request needs no parent."""
    if not requests:
        raise Conflict("Nothing was selected.", "Select at least one row.")
    if len(requests) == 1:
        return start(actor, requests[0], ip=ip)
    with transaction.atomic(), gathered():
        now = timezone.now()
        parent = Operation.objects.create(
            kind="bulk",
            title=title,
            state=State.RUNNING,
            actor=actor,
            actor_name=actor.display,
            token=actor.token,
            started_at=now,
            progress={"children": {"status": "", "current": 0, "total": len(requests)}},
        )
        children = [_create(actor, request, ip, parent=parent) for request in requests]
        transaction.on_commit(lambda: enqueue(*[child.pk for child in children]))
        publish("operations")
    return parent


def _create(actor: User, request: Request, ip: str | None, **links: Any) -> Operation:
    kind = kinds.get(request.kind)
    target_kind, target_id, target_name = request.target
    operation = Operation.objects.create(
        kind=request.kind,
        title=request.title[:300],
        actor=actor,
        actor_name=actor.display,
        token=actor.token,
        host=request.host,
        host_name=request.host.name if request.host else "",
        target_kind=target_kind,
        target_id=target_id,
        target_name=target_name,
        lane=request.lane,
        image_name_id=request.image,
        params=request.params,
        **links,
    )
    record(
        actor,
        kind.verb,
        target_kind=target_kind,
        target_id=target_id,
        target_name=target_name,
        host=request.host,
        detail=request.title,
        operation=operation,
        ip=ip,
    )
    return operation


def cancel(actor: User, operation: Operation, *, ip: str | None = None) -> None:
    """Ask `operation`, and its children, to end.

    A queued one ends here and now; a running one is told through the database and ends within about a second.
    Raises Conflict when it has ended, or when its kind cannot be stopped once it runs.
    """
    with transaction.atomic(), gathered():
        operation = Operation.objects.select_for_update().get(pk=operation.pk)
        if operation.is_finished:
            raise Conflict(f"This operation has already {operation.state}.")
        kind = kinds.find(operation.kind)
        if kind and kind.cancel_note and operation.state == State.RUNNING:
            raise Conflict("It is too late to cancel this operation.", kind.cancel_note)
        _audit_request(actor, "cancel", operation, ip)
        _request_cancel([operation, *operation.children.filter(state__in=UNFINISHED)], actor)
    lifecycle.settle_parent(operation)


def _request_cancel(operations: Iterable[Operation], actor: User) -> None:
    now = timezone.now()
    for each in operations:
        asked = Operation.objects.filter(pk=each.pk, cancel_requested_at=None)
        asked.update(cancel_requested_at=now, cancel_requested_by=actor.display)
        if not each.is_bulk:
            lifecycle.cancel_queued(each)
        publish(f"operation.{each.pk}")


def retry(actor: User, operation: Operation, *, ip: str | None = None) -> Operation:
    """The same work once more, as a new operation. For a bulk one: those children that did not succeed.

    Raises Conflict while it has not ended, and RightMissing when `actor` lacks the verb of its kind.
    """
    for each in operation.children.all() if operation.is_bulk else [operation]:
        _require_again(actor, each)
    if not operation.is_finished:
        raise Conflict("This operation has not ended yet.", "Cancel it first.")
    if not operation.is_bulk:
        return start(actor, _again(actor, operation), ip=ip, retry_of=operation)
    failed = operation.children.exclude(state=State.SUCCEEDED)
    again = [_again(actor, child) for child in failed]
    return start_many(actor, operation.title, again, ip=ip)


def _again(actor: User, operation: Operation) -> Request:
    _require_again(actor, operation)
    if operation.host_name and operation.host is None:
        raise Conflict(f"The host {operation.host_name} has been removed.")
    return Request(
        kind=operation.kind,
        title=operation.title,
        host=operation.host,
        target=(operation.target_kind, operation.target_id, operation.target_name),
        params=_params_for(actor, operation),
        lane=operation.lane,
        image=operation.image_name_id,
    )


def _params_for(actor: User, operation: Operation) -> dict[str, Any]:
    """Those of `operation`, without what is another's: a password was given for that one time."""
    personal = () if operation.actor_id == actor.pk else kinds.get(operation.kind).personal
    return {name: value for name, value in operation.params.items() if name not in personal}


def _require_again(actor: User, operation: Operation) -> None:
    """Raise RightMissing unless `actor` may do now what `operation` did."""
    kind = kinds.find(operation.kind)
    if kind is None:
        raise Conflict(f"This Gantry knows no operations of the kind {operation.kind} any more.")
    for target in kind.targets(operation):
        require(actor, kind.verb, target)


def _audit_request(actor: User, what: str, operation: Operation, ip: str | None) -> None:
    record(
        actor,
        "operation.cancel",
        target_kind="operation",
        target_id=operation.pk,
        target_name=operation.title,
        host=operation.host,
        host_name=operation.host_name,
        detail=f"{what} {operation.title}",
        operation=operation,
        ip=ip,
    )
