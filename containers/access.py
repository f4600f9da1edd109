"""Fetching containers with permission: the fetch is the check."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet

from containers.models import Container
from controlplane.access.decide import Actor, fetch, visible
from controlplane.lib.lists import row_ids


def _all() -> QuerySet[Container]:
    return Container.objects.select_related("host", "host__environment", "image_name")


def seen_by(actor: Actor) -> QuerySet[Container]:
    """Every container `actor` may see."""
    return visible(actor, "container.see", _all())


def get_container(actor: Actor, pk: int, verb: str = "container.see") -> Container:
    """One container, for `verb`. Raises Http404 when not seen, Forbidden when seen but `verb` is missing."""
    return fetch(actor, verb, _all(), see="container.see", pk=pk)


def select(actor: Actor, ids: Iterable[str]) -> list[Container]:
    """The seen ones among `ids` (as a form sends them); what is not a number or not seen is left out."""
    return list(seen_by(actor).filter(pk__in=row_ids(ids)[:1000]))
