"""The audit trail as it is read: one entry with what stands around it, and all of it as JSON Lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from controlplane.access.decide import fetch, require, visible
from controlplane.access.models import User
from controlplane.lib.threads import in_thread
from controlplane.operations import chain
from controlplane.operations.filters import AuditFilter
from controlplane.operations.models import AuditEntry, AuditHead
from controlplane.operations.sockets import Reading

EXPORT_BATCH = 1000
MOST_SEQUELS = 20


@dataclass(frozen=True)
class Placed:
    """One entry in its place, between the next ones that may be seen. `is_whole`: its hash fits it; `follows`: it holds
    the hash of the one before. `origin`: the entry whose end it tells; `sequels`: the first that tell of its own."""

    entry: AuditEntry
    before: AuditEntry | None
    after: AuditEntry | None
    is_whole: bool
    follows: bool
    origin: AuditEntry | None
    sequels: list[AuditEntry]

    @property
    def line(self) -> str:
        return chain.line(self.entry)


def get_entry(actor: User, seq: int) -> Placed:
    """The entry with this number. Raises RightMissing, Http404."""
    require(actor, "audit.see")
    found = fetch(actor, "audit.see", AuditEntry.objects.select_related("operation"), see="audit.see", seq=seq)
    near = visible(actor, "audit.see", AuditEntry.objects.all())
    return Placed(
        found,
        before=near.filter(seq__lt=found.seq).order_by("-seq").first(),
        after=near.filter(seq__gt=found.seq).order_by("seq").first(),
        is_whole=chain.is_whole(found),
        follows=chain.follows(found),
        origin=near.filter(seq=found.refers_to).first() if found.refers_to else None,
        sequels=list(near.filter(refers_to=found.seq).order_by("seq")[:MOST_SEQUELS]),
    )


def export(actor: User, narrowed: AuditFilter, again: Callable[[], User]) -> AsyncIterator[bytes]:
    """What the filters leave, oldest first, up to the present end: a line each. That they are asked for is written
    down first. `again`: who asks, fetched anew for each piece; an export may take long, and a right may end."""
    require(actor, "audit.see")
    head = AuditHead.objects.first()
    reading = Reading(actor, "audit.see", target_kind="auditentry", target_name="the audit trail")
    reading.begin(f"exported the audit trail as JSON Lines: {narrowed.words}")
    return _lines(again, narrowed, head.seq if head else 0, reading)


async def _lines(again: Callable[[], User], narrowed: AuditFilter, upto: int, reading: Reading) -> AsyncIterator[bytes]:
    last = count = 0
    try:
        while batch := await in_thread(_batch, again, narrowed, last, upto):
            last, count = batch[-1].seq, count + len(batch)
            yield "".join(f"{chain.line(each)}\n" for each in batch).encode()
    finally:
        await reading.ended(f"the export ended after {count} entries")


def _batch(again: Callable[[], User], narrowed: AuditFilter, last: int, upto: int) -> list[AuditEntry]:
    actor = again()
    require(actor, "audit.see")
    rows = visible(actor, "audit.see", narrowed.qs.filter(seq__gt=last, seq__lte=upto))
    return list(rows.order_by("seq")[:EXPORT_BATCH])
