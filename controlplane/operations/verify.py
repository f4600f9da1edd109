"""Looks for any entry of the audit trail that was altered, removed, put in, or put elsewhere.

In constant memory: entries come in batches, in the order of the chain. What is written meanwhile is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models import Q

from controlplane.operations import chain, guards
from controlplane.operations.anchors import Anchor
from controlplane.operations.breaks import Finding, Reached, break_at, wrong_end
from controlplane.operations.models import AuditEntry, AuditHead

BATCH = 1000


@dataclass(frozen=True)
class Report:
    """`first`, `last`: what was looked at; `last` and `hash` are 0 and the genesis hash for an empty trail."""

    first: int
    last: int
    hash: str
    checked: int
    anchors: int
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": not self.findings}


def verify(anchors: Iterable[Anchor], start: int = 1) -> Report:
    """Look at all from entry `start` on, which is taken to follow what stands before it.

    Tells the first break of the chain (what comes after one says little), every anchor that does not fit, and every
    trigger that is missing.
    """
    newest = AuditEntry.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    head = AuditHead.objects.filter(pk=1).first() or AuditHead(seq=0, hash=chain.GENESIS)
    walk = _Walk(start, head)
    broken = walk.run()
    findings = [broken] if broken else []
    if newest > head.seq and not broken:
        findings.append(Finding("inserted", head.seq + 1, f"Entries follow the end of the trail, which is {head.seq}."))
    known = 0
    for anchor, found in _beside(anchor for anchor in anchors if anchor.seq >= start):
        known += 1
        if wrong := _misfit(anchor, found):
            findings.append(wrong)
            break
    findings += [
        Finding("unguarded", 0, f"The trigger {name} is missing: the database would let entries be changed.")
        for name in guards.missing(connection)
    ]
    return Report(start, walk.reached.last, walk.reached.hash, walk.checked, known, tuple(findings))


class _Walk:
    """From one entry to the next, up to the head."""

    def __init__(self, start: int, head: AuditHead) -> None:
        self.head = head
        self.reached = Reached(start - 1, chain.GENESIS)
        self.checked = 0

    def run(self) -> Finding | None:
        """The first break."""
        reached = self.reached
        if reached.last:
            before = AuditEntry.objects.filter(seq=reached.last).first()
            if before is None:
                text = f"Entry {reached.last} is missing, which the first one follows."
                return Finding("missing", reached.last, text)
            reached.hash = before.hash
        for entry in _entries(reached.last, self.head.seq):
            if found := break_at(reached, entry, self.head):
                return found
            reached.step(entry)
            self.checked += 1
        last = reached.last
        if last < self.head.seq:
            return Finding("missing", last + 1, f"Entries {last + 1} to {self.head.seq} at the end are missing.")
        return wrong_end(reached, self.head) if reached.hash != self.head.hash else None


def _entries(after: int, upto: int) -> Iterator[AuditEntry]:
    """By number and then by row, since a number may stand there twice once the database's own rules are gone."""
    row = 0
    while True:
        same = Q(seq=after, pk__gt=row) if row else Q(pk=None)
        rest = AuditEntry.objects.filter(Q(seq__gt=after) | same, seq__gte=after, seq__lte=upto)
        batch = list(rest.order_by("seq", "pk")[:BATCH])
        yield from batch
        if len(batch) < BATCH:
            return
        after, row = batch[-1].seq, batch[-1].pk


def _beside(anchors: Iterable[Anchor]) -> Iterator[tuple[Anchor, str | None]]:
    """Each anchor with the hash that the trail has there."""
    anchors = iter(anchors)
    while batch := list(islice(anchors, 500)):
        wanted = {anchor.seq for anchor in batch}
        found = dict(AuditEntry.objects.filter(seq__in=wanted).values_list("seq", "hash"))
        yield from ((anchor, found.get(anchor.seq)) for anchor in batch)


def _misfit(anchor: Anchor, found: str | None) -> Finding | None:
    if found is None:
        text = f"Entry {anchor.seq} is missing, which was the last one on {anchor.at}: the trail was cut off there."
        return Finding("anchor", anchor.seq, text)
    if found != anchor.hash:
        text = f"Entry {anchor.seq} is not the one that was there on {anchor.at}: the trail was written anew."
        return Finding("anchor", anchor.seq, text)
    return None
