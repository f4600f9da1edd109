"""Fetching hosts and environments with permission: the fetch is the check."""

from __future__ import annotations

from typing import Any

from django.db.models import Func, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from controlplane.access.decide import Actor, fetch, visible
from hosts.models import Environment, Host


def _all() -> QuerySet[Host]:
    return Host.objects.select_related("environment")


def seen_by(actor: Actor) -> QuerySet[Host]:
    """Every host `actor` may see."""
    return visible(actor, "host.see", _all())


def get_host(actor: Actor, pk: int, verb: str = "host.see") -> Host:
    """One host, for `verb`. Raises Http404 when not seen, Forbidden when seen but `verb` is missing."""
    return fetch(actor, verb, _all(), see="host.see", pk=pk)


def environments(actor: Actor, verb: str = "host.see") -> QuerySet[Environment]:
    """Those in which `actor` holds `verb`."""
    return visible(actor, verb, Environment.objects.all())


def counted(actor: Actor, verb: str, what: str, **which: Any) -> Coalesce:
    """For a queryset of hosts: how many of `what` ("containers", "images") on it `actor` has the right `verb` to."""
    model: Any = Host._meta.get_field(what).related_model  # of an app above this one
    rows = visible(actor, verb, model._default_manager.filter(host=OuterRef("pk"), **which))
    count = rows.order_by().annotate(n=Func("pk", function="COUNT")).values("n")
    return Coalesce(Subquery(count, output_field=IntegerField()), 0)
