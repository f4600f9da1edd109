"""Celery's side of operations: thin, by id, quiet when the row is gone."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from controlplane.access.sessions import forget_expired
from controlplane.operations import actions, anchors, lifecycle, refusals, runner, syslog
from controlplane.operations.audit import record
from controlplane.operations.models import FINISHED, Operation, State

KEEP_FOR = timedelta(days=90)


@shared_task(name="operations.run")
def run(operation_id: int) -> None:
    """Run the operation if it is still to be run and its turn has come; then wake those that waited for it."""
    operation = lifecycle.claim(operation_id)
    if operation is None:
        return
    runner.run(operation)
    actions.enqueue(*lifecycle.waiting(operation).values_list("pk", flat=True))


@shared_task(name="operations.sweep")
def sweep() -> None:
    """Find what has fallen between: dead workers' operations, messages the broker lost, unsummed parents."""
    lifecycle.rescue_lost()
    lifecycle.settle_orphans()
    overdue = Operation.objects.filter(state=State.QUEUED, created_at__lt=timezone.now() - timedelta(seconds=3))
    actions.enqueue(*overdue.order_by("pk").values_list("pk", flat=True)[:200])


@shared_task(name="operations.prune")
def prune() -> None:
    """Drop operations that ended long ago, and sessions that expired; the audit trail keeps who did what."""
    call_command("clearsessions")
    forget_expired()
    old = Operation.objects.filter(state__in=FINISHED, finished_at__lt=timezone.now() - KEEP_FOR)
    with transaction.atomic():
        dropped = old.filter(parent=None).delete()[1].get("operations.Operation", 0)
        if dropped:
            what = f"dropped {dropped} operations that had ended more than {KEEP_FOR.days} days before"
            record(AnonymousUser(), "operation.prune", target_kind="operation", detail=what, stranger="Gantry")


@shared_task(name="operations.anchor_audit")
def anchor_audit() -> None:
    """Write down where the audit trail stands, outside the database; and sum up the refusals of a minute."""
    refusals.sum_up()
    anchors.drop()


@shared_task(name="operations.send_audit")
def send_audit() -> None:
    """Send what is new in the audit trail to the syslog server, if there is one."""
    syslog.deliver()
