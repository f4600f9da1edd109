"""Which operations somebody sees, and of those around one: a parent, parts, retries, what it waits for."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from controlplane.access.decide import Actor, visible
from controlplane.operations.models import Operation


def seen_by(actor: Actor) -> QuerySet[Operation]:
    """Every operation `actor` may see."""
    return visible(actor, "operation.see", Operation.objects.all())


def tops(actor: Actor) -> QuerySet[Operation]:
    """Those seen that are part of nothing else that is seen: parts are looked at on the page of the whole."""
    wholes = seen_by(actor).filter(kind="bulk").order_by().values("pk")
    return seen_by(actor).filter(Q(parent=None) | ~Q(parent_id__in=wholes))


def seen_one(actor: Actor, pk: int | None) -> Operation | None:
    """That one, if there is one and `actor` may see it."""
    return seen_by(actor).filter(pk=pk).first() if pk else None


def seen_of(actor: Actor, operations: Iterable[Operation]) -> list[Operation]:
    """Those of `operations` that `actor` may see, in their order, by one query."""
    found = list(operations)
    seen = set(seen_by(actor).filter(pk__in=[each.pk for each in found]).values_list("pk", flat=True)) if found else ()
    return [each for each in found if each.pk in seen]
