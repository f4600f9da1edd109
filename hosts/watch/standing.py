"""A host's standing in the database: connected, or unreachable since when and why. Changes only when it changes."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from controlplane.lib.live import publish
from hosts.models import Host, HostState


def mark_connected(host: Host, facts: dict[str, Any]) -> None:
    """The engine has been listed in full: its rows are true from now on. `facts`: fields of Host."""
    now = timezone.now()
    with transaction.atomic():
        Host.objects.filter(pk=host.pk).update(observed_at=now, **facts)
        changed = (
            Host.objects.filter(pk=host.pk, tunnel_up=True)
            .exclude(state=HostState.CONNECTED)
            .update(state=HostState.CONNECTED, state_since=now, state_reason="", last_seen_at=now)
        )
        if changed:
            publish("hosts", f"host.{host.pk}", "containers", "images")


def mark_unreachable(host: Host, reason: str) -> None:
    """The host's rows are no longer to be believed. The first time it was so stays until it is back.

    Also a host that has never been connected, once its agent is: then the reason is that no engine answers there.
    """
    with transaction.atomic():
        believed = Q(state=HostState.CONNECTED) | Q(state=HostState.NEVER, tunnel_up=True)
        changed = Host.objects.filter(believed, pk=host.pk).update(
            state=HostState.UNREACHABLE, state_since=timezone.now(), state_reason=reason[:300]
        )
        if not changed:
            Host.objects.filter(pk=host.pk).exclude(state_reason=reason[:300]).update(state_reason=reason[:300])
        else:
            publish("hosts", f"host.{host.pk}", "containers", "images")


def note_listed(host: Host) -> None:
    """Everything on it has been listed once more."""
    with transaction.atomic():
        Host.objects.filter(pk=host.pk).update(observed_at=timezone.now())
        publish(f"host.{host.pk}")


def note_metrics(host: Host, fields: dict[str, Any]) -> None:
    """Store what the agent measures."""
    with transaction.atomic():
        Host.objects.filter(pk=host.pk).update(last_seen_at=timezone.now(), **fields)
        publish(f"host.{host.pk}")
