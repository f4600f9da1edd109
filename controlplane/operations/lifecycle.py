"""How an operation passes from state to state. Every step is a conditional UPDATE: who loses the race does nothing."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from controlplane.lib.live import publish
from controlplane.operations import kinds
from controlplane.operations.audit import as_asked, record
from controlplane.operations.kinds import OnLoss
from controlplane.operations.models import (
    FINISHED,
    HEARTBEAT_LIMIT,
    UNFINISHED,
    Operation,
    OperationOutput,
    State,
)

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
# Of any kind. A host that never answers would else hold every thread of the worker, and with them all other hosts.
MOST_ON_A_HOST = 12


def claim(operation_id: int) -> Operation | None:
    """Take a queued operation to run it; None when it is not queued, or has to wait.

    It waits while an earlier one of its lane is unfinished, or while its host runs as many heavy ones as it may.
    """
    try:
        with transaction.atomic():
            operation = Operation.objects.select_for_update().filter(pk=operation_id, state=State.QUEUED).first()
            if operation is None or _must_wait(operation):
                return None
            now = timezone.now()
            operation.state = State.RUNNING
            operation.started_at = operation.started_at or now
            operation.heartbeat_at = now
            operation.attempt += 1
            operation.claim += 1
            operation.save(update_fields=["state", "started_at", "heartbeat_at", "attempt", "claim"])
            publish("operations", f"operation.{operation.pk}")
            return operation
    except IntegrityError:
        return None  # another worker took the lane between our look and our write


def _must_wait(operation: Operation) -> bool:
    if _ahead(operation).exists():
        return True
    if operation.host is None:
        return False
    # Locks the host's row, so that two workers cannot both see the last free place.
    host = type(operation.host)._default_manager.select_for_update().get(pk=operation.host.pk)
    if _running_on(operation).count() >= MOST_ON_A_HOST:
        return True
    return _is_heavy(operation) and _heavy_on(operation).count() >= host.pull_limit


def waits_for(operation: Operation) -> list[Operation]:
    """What a queued operation waits for, the first to run first; empty when only for a worker."""
    if operation.state != State.QUEUED:
        return []
    ahead = list(_ahead(operation).order_by("-state", "id"))  # "running" before "queued"
    if ahead or operation.host is None:
        return ahead
    running = list(_running_on(operation).order_by("id"))
    if len(running) >= MOST_ON_A_HOST:
        return running
    if not _is_heavy(operation):
        return []
    heavy = list(_heavy_on(operation).order_by("id"))
    return heavy if len(heavy) >= operation.host.pull_limit else []


def _running_on(operation: Operation) -> QuerySet[Operation]:
    """What runs on its host now."""
    return Operation.objects.filter(host=operation.host_id, state=State.RUNNING)


def _ahead(operation: Operation) -> QuerySet[Operation]:
    """Those of its lane that come first."""
    if not operation.lane:
        return Operation.objects.none()
    return Operation.objects.filter(lane=operation.lane).filter(
        Q(state=State.RUNNING) | Q(state=State.QUEUED, pk__lt=operation.pk)
    )


def _is_heavy(operation: Operation) -> bool:
    kind = kinds.find(operation.kind)
    return kind is not None and kind.heavy


def _heavy_on(operation: Operation) -> QuerySet[Operation]:
    return Operation.objects.filter(host=operation.host, state=State.RUNNING, kind__in=kinds.heavy_names())


def finish(operation: Operation, state: str, *, error: str = "", hint: str = "") -> bool:
    """End a running operation. False when this claim is no longer the valid one: nothing was written."""
    with transaction.atomic():
        changed = Operation.objects.filter(pk=operation.pk, claim=operation.claim, state=State.RUNNING).update(
            state=state, error=error, hint=hint, finished_at=timezone.now()
        )
        if changed != 1:
            return False
        publish("operations", f"operation.{operation.pk}")
        write_end(operation)
    settle_parent(operation)
    return True


def write_end(operation: Operation) -> None:
    """The entry that tells how an operation ended, by whom and from where it was asked for, and which entry that is.

    Comes last in its transaction."""
    operation = Operation.objects.select_related("actor", "token").get(pk=operation.pk)
    ran = operation.duration
    with as_asked(operation) as asked:
        record(
            operation.actor or AnonymousUser(),
            "operation.ended",
            target_kind=operation.target_kind,
            target_id=operation.target_id,
            target_name=operation.target_name,
            host_name=operation.host_name,
            result=operation.state,
            seconds=round(ran.total_seconds()) if ran is not None else None,
            follows=asked,
            detail=": ".join(filter(None, [operation.title, operation.error])),
            operation=operation,
            stranger=operation.actor_name,
        )


def cancel_queued(operation: Operation) -> bool:
    """End an operation that no worker has taken yet. False when one has."""
    with transaction.atomic():
        changed = Operation.objects.filter(pk=operation.pk, state=State.QUEUED).update(
            state=State.CANCELLED, finished_at=timezone.now()
        )
        publish("operations", f"operation.{operation.pk}")
        if changed == 1:
            write_end(operation)
    return changed == 1


def settle_parent(operation: Operation) -> None:
    """Bring a bulk operation up to date with its children, and end it with the last of them."""
    parent_id = operation.pk if operation.is_bulk else operation.parent_id
    if parent_id is None:
        return
    with transaction.atomic():
        parent = Operation.objects.select_for_update().get(pk=parent_id)
        if parent.is_finished:
            return
        counts = _child_counts(parent)
        total, done = sum(counts.values()), sum(counts.get(state, 0) for state in FINISHED)
        parent.progress = {"children": {"status": "", "current": done, "total": total}}
        if done == total:
            parent.state, parent.error = _verdict(parent, counts, total)
            parent.finished_at = timezone.now()
        parent.save(update_fields=["progress", "state", "error", "finished_at"])
        publish("operations", f"operation.{parent.pk}")


def _child_counts(parent: Operation) -> dict[str, int]:
    rows = parent.children.order_by().values("state").annotate(n=Count("id"))
    return {row["state"]: row["n"] for row in rows}


def _verdict(parent: Operation, counts: dict[str, int], total: int) -> tuple[str, str]:
    if counts.get(State.SUCCEEDED, 0) == total:
        return State.SUCCEEDED, ""
    words = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
    if counts.get(State.CANCELLED) and not counts.get(State.FAILED) and not counts.get(State.LOST):
        return State.CANCELLED, f"Of {total}: {words}."
    return State.FAILED, f"Of {total}: {words}."


def waiting(operation: Operation) -> QuerySet[Operation]:
    """Queued operations that the end of `operation` may have made way for."""
    same = Q(host=operation.host_id) if operation.host_id else Q(pk=None)
    if operation.lane:
        same |= Q(lane=operation.lane)
    return Operation.objects.filter(same, state=State.QUEUED).order_by("pk")[:50]


def note(operation_id: int, text: str, stream: str = "gantry") -> None:
    """Add a line of Gantry's own to an operation's output."""
    with transaction.atomic():
        last = OperationOutput.objects.filter(operation=operation_id).order_by("-seq").first()
        OperationOutput.objects.create(
            operation_id=operation_id, seq=last.seq + 1 if last else 0, stream=stream, text=text
        )


def rescue_lost() -> list[int]:
    """Deal with operations whose worker has died: queue again what can be repeated, give up the rest.

    Returns the ids that were queued again.
    """
    limit = timezone.now() - HEARTBEAT_LIMIT
    dead = Operation.objects.filter(state=State.RUNNING, heartbeat_at__lt=limit).exclude(kind="bulk")
    return [operation.pk for operation in dead[:200] if _rescue(operation)]


def _rescue(operation: Operation) -> bool:
    kind = kinds.find(operation.kind)
    repeat = (
        kind is not None
        and kind.on_loss is OnLoss.REPEAT
        and operation.attempt < MOST_ATTEMPTS
        and not operation.cancel_requested
    )
    mine: dict[str, Any] = {"pk": operation.pk, "claim": operation.claim, "state": State.RUNNING}
    with transaction.atomic():
        if operation.cancel_requested:
            after = {"state": State.CANCELLED, "finished_at": timezone.now()}
            text = "The worker died while this was being cancelled."
        elif repeat:
            after = {"state": State.QUEUED}
            text = "The worker that ran this died. It is started again."
        else:
            after = {
                "state": State.LOST,
                "finished_at": timezone.now(),
                "error": "The worker that ran this died, and nobody knows how far it got.",
                "hint": "Look at the container's or image's present state, then retry if it is still needed.",
            }
            text = "The worker that ran this died."
        if Operation.objects.filter(**mine).update(claim=operation.claim + 1, **after) != 1:
            return False
        note(operation.pk, text)
        publish("operations", f"operation.{operation.pk}")
        if "finished_at" in after:
            write_end(operation)
    if not repeat:
        settle_parent(operation)
    return repeat


def settle_orphans() -> None:
    """End bulk operations whose last child ended while nobody was there to sum up."""
    for parent in Operation.objects.filter(kind="bulk", state__in=UNFINISHED)[:200]:
        if not parent.children.filter(state__in=UNFINISHED).exists():
            settle_parent(parent)
