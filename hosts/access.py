"""Fetching hosts with permission: the fetch is the check."""

from __future__ import annotations

from django.db.models import QuerySet

from controlplane.access.decide import Actor, fetch, visible
from hosts.models import Host


def _all() -> QuerySet[Host]:
    return Host.objects.select_related("environment")


def seen_by(actor: Actor) -> QuerySet[Host]:
    """Every host `actor` may see."""
    return visible(actor, "host.see", _all())


def get_host(actor: Actor, pk: int, verb: str = "host.see") -> Host:
    """One host, for `verb`. Raises Http404 when not seen, Forbidden when seen but `verb` is missing."""
    return fetch(actor, verb, _all(), see="host.see", pk=pk)
