"""Refusals in the audit trail: the first few of a minute by the same person as they come, the rest as a number.

What is not there is written down just as what may not be seen, and costs the same: the time an answer takes must not
tell the two apart.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, transaction
from django.db.models import F, Model
from django.utils import timezone

from controlplane.access.decide import Actor
from controlplane.access.models import User
from controlplane.lib import origin
from controlplane.lib.errors import NotSeen, Refused
from controlplane.lib.logs import printable
from controlplane.operations.audit import about, gathered, record
from controlplane.operations.chain import address
from controlplane.operations.models import Outcome, RefusalCount

MOST_A_MINUTE = 20
NEAR = (
    "host",
    "host__environment",
    "environment",
    "operation",
    "operation__host__environment",
    "definition",
)  # what `audit.about` may look at


def this_minute() -> int:
    """Since 1970."""
    return int(timezone.now().timestamp()) // 60


def note(actor: Actor, exc: Exception, where: str) -> None:
    """Write down that `actor` was refused with `exc` at `where` ("GET /containers/7/").

    Nothing is written of other errors, nor of a row that a view found missing after it had asked for the right.
    """
    if isinstance(exc, Refused):
        said = about(exc.target) if isinstance(exc.target, Model) else {"target_name": str(exc.target or "")}
        refused(actor, exc.verb, detail=f"{where}: {exc.told}" if exc.told else where, **said)
    elif isinstance(exc, NotSeen):
        target = _found(exc)
        said = about(target) if target else {"target_kind": exc.model._meta.model_name, "target_id": exc.asked}
        refused(actor, exc.verb, outcome=Outcome.REFUSED if target else Outcome.MISSING, detail=where, **said)


def _found(exc: NotSeen) -> Model | None:
    """The row, with all that is said of it: a further query would tell by its time that it is there."""
    fields = {field.name for field in exc.model._meta.concrete_fields if field.is_relation}
    near = [name for name in NEAR if name.partition("__")[0] in fields]
    try:
        with transaction.atomic():
            return exc.model._base_manager.select_related(*near).filter(**exc.lookup).order_by("pk").first()
    except (ValueError, TypeError, OverflowError, DatabaseError):  # what was asked for is nothing a row can be found by
        return None


def refused(
    actor: Actor,
    verb: str,
    *,
    outcome: str = Outcome.REFUSED,
    detail: str = "",
    apart: str = "",
    times: int = 1,
    **said: Any,
) -> None:
    """`audit.record` for a refusal, bounded: those `apart` by themselves. `times`: for how many it stands."""
    here = origin.current()
    known = isinstance(actor, User)
    who = f"user:{actor.pk}" if known else f"stranger:{said.get('door') or here.door}"
    who = f"{who}:{apart}" if apart else who
    minute = this_minute()
    with transaction.atomic(), gathered():
        row = RefusalCount(
            who=who,
            minute=minute,
            actor_id=actor.pk,
            actor_name=printable(actor.display)[:200] if isinstance(actor, User) else "anonymous",
            ip=address(said.get("ip") or here.ip),
            door=said.get("door") or here.door,
        )
        RefusalCount.objects.bulk_create([row], ignore_conflicts=True)
        mine = RefusalCount.objects.filter(who=who, minute=minute)
        mine.update(count=F("count") + times, last=printable(f"{verb} {detail}")[:500])
        if mine.values_list("count", flat=True)[0] <= MOST_A_MINUTE:
            record(actor, verb, outcome=outcome, detail=detail, **said)


def sum_up() -> None:
    """Write the numbers of the minutes that are over, one entry each."""
    over = RefusalCount.objects.filter(minute__lt=this_minute())
    over.filter(count__lte=MOST_A_MINUTE).delete()
    for pk in list(over.order_by("pk").values_list("pk", flat=True)[:1000]):
        with transaction.atomic(), gathered():
            # Locked, so that of two workers one finds it gone.
            row = RefusalCount.objects.select_for_update().filter(pk=pk).first()
            if row is not None:
                row.delete()
                _summed(row)


def _summed(row: RefusalCount) -> None:
    actor = User.objects.filter(pk=row.actor_id).first() if row.actor_id else None
    record(
        actor or AnonymousUser(),
        "access.refused",
        outcome=Outcome.REFUSED,
        detail=f"{row.count - MOST_A_MINUTE} more refusals within the same minute, the last: {row.last}",
        ip=row.ip,
        door=row.door,
        stranger=row.actor_name,
    )
