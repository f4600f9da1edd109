"""Celery's side of containers."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from celery import Task, shared_task
from django.contrib.auth.models import AnonymousUser

from containers.recordings import actions as recordings
from containers.terminals import HostAway, Terminals
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry
from hosts.models import Host

# The agent ends an abandoned shell after ten minutes, and looks every quarter of one.
SETTLE_SECONDS = 630


@shared_task(name="containers.settle_terminal", bind=True, max_retries=12, default_retry_delay=600)
def settle_terminal(self: Task, left_id: int, host_id: int, ident: str) -> None:
    """Write down the end of a shell that its user left and did not come back to.

    `left_id`: the audit entry of the leaving. Quiet when anything was written of that shell since, or when
    its host is gone; asked again later while the host is away.
    """
    left = AuditEntry.objects.filter(pk=left_id).select_related("actor").first()
    host = Host.objects.filter(pk=host_id).first()
    if left is None or host is None or _went_on(left, ident):
        return
    try:
        held = async_to_sync(_is_held)(host, ident)
    except HostAway as exc:
        raise self.retry(exc=exc) from exc
    if held:
        raise self.retry()
    record(
        left.actor or AnonymousUser(),
        left.verb,
        target_kind=left.target_kind,
        target_id=left.target_id,
        target_name=left.target_name,
        host_name=left.host_name,
        result="ended",
        follows=left,
        stranger=left.actor_name,
        detail=f"ended: nobody came back for ten minutes (terminal {ident[:8]})",
    )


def _went_on(left: AuditEntry, ident: str) -> bool:
    later = AuditEntry.objects.filter(seq__gt=left.seq, verb=left.verb, target_id=left.target_id)
    return later.filter(detail__endswith=f"(terminal {ident[:8]})").exists()


async def _is_held(host: Host, ident: str) -> bool:
    async with Terminals(host) as terminals:
        return ident in await terminals.running()


@shared_task(name="recordings.sweep")
def sweep_recordings() -> None:
    """Close the recordings of processes that were killed, and of shells that nobody came back to."""
    recordings.sweep()


@shared_task(name="recordings.prune")
def prune_recordings() -> None:
    """Remove recordings by age and by their size together."""
    recordings.prune()
