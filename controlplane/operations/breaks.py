"""What a break of the audit trail's chain was: told from which entry was written next, and where that stands now.

An entry's hash holds its number and the hash of the one before it. So the entry that was written after a given one can
be looked for wherever it stands, and one that stands in a wrong place says which was its own. What was hashed anew by
somebody who knows the form is told by what follows it, up to the end and the anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.operations import chain
from controlplane.operations.models import AuditEntry, AuditHead

NEARBY = 1000  # places an entry that does not fit is looked for under


@dataclass(frozen=True)
class Finding:
    """What is wrong, and where: `kind` is altered, missing, reordered, inserted, head, anchor or unguarded."""

    kind: str
    seq: int
    message: str


@dataclass
class Reached:
    """How far the walk has come: the last entry that fitted, its hash, and that of the one before it; that is empty
    where the last entry is believed and was not looked at."""

    last: int
    hash: str
    before: str = ""

    def step(self, entry: AuditEntry) -> None:
        self.last, self.hash, self.before = entry.seq, entry.hash, self.hash


def break_at(reached: Reached, entry: AuditEntry, head: AuditHead) -> Finding | None:
    """What is wrong with `entry`, the next there is; None when it follows."""
    expected = reached.last + 1
    if entry.seq < expected:
        return Finding("inserted", entry.seq, f"Entry {entry.seq} is there twice.")
    is_whole = chain.is_whole(entry)
    if entry.seq == expected and is_whole and entry.prev == reached.hash:
        return None
    place = None if is_whole else _place_of(entry)
    if place == reached.last and entry.prev == reached.before and entry.hash != reached.hash:
        return _inserted(reached.last)
    moved = entry.seq > expected or (place is not None and place > expected)
    if _stands_elsewhere(expected, reached.hash):
        return _reordered(expected, entry, place) if moved else _inserted(expected)
    if moved:
        return _missing(expected, place or entry.seq, is_closed_up=entry.seq == expected)
    if is_whole and reached.before and _is_followed(entry, head):
        return _altered(reached.last, "what follows it was written after another")
    return _altered(expected, "it does not follow the one before it" if is_whole else "its hash differs")


def wrong_end(reached: Reached, head: AuditHead) -> Finding:
    """What is wrong with the last entry, which is not the one that the trail's end names."""
    if AuditEntry.objects.filter(hash=head.hash).exists():
        return _inserted(reached.last)
    return Finding("head", reached.last, f"The last entry is not the one that the trail’s end names ({reached.last}).")


def _inserted(seq: int) -> Finding:
    text = f"Entry {seq} was put in: what was written as {seq} stands elsewhere."
    return Finding("inserted", seq, text)


def _reordered(expected: int, entry: AuditEntry, place: int | None) -> Finding:
    if place is None:
        return Finding("reordered", expected, f"What was written as entry {expected} stands elsewhere.")
    return Finding("reordered", expected, f"At {entry.seq} stands what was written as entry {place}.")


def _missing(first: int, after: int, *, is_closed_up: bool) -> Finding:
    what = f"Entry {first} is" if after - 1 == first else f"Entries {first} to {after - 1} are"
    return Finding("missing", first, f"{what} missing{', and what followed was moved up' if is_closed_up else ''}.")


def _altered(seq: int, why: str) -> Finding:
    return Finding("altered", seq, f"Entry {seq} is not as it was written: {why}.")


def _place_of(entry: AuditEntry) -> int | None:
    """The number under which an entry's hash is right, if that is one nearby."""
    stands, near = entry.seq, range(max(1, entry.seq - NEARBY), entry.seq + NEARBY + 1)
    try:
        for entry.seq in near:
            if entry.seq != stands and chain.digest(entry) == entry.hash:
                return entry.seq
        return None
    finally:
        entry.seq = stands


def _stands_elsewhere(seq: int, prev: str) -> bool:
    """Whether the entry that was written as `seq`, after the one with the hash `prev`, stands under another number."""
    for entry in AuditEntry.objects.filter(prev=prev).exclude(seq=seq).order_by("seq")[:NEARBY]:
        entry.seq = seq
        if chain.digest(entry) == entry.hash:
            return True
    return False


def _is_followed(entry: AuditEntry, head: AuditHead) -> bool:
    """Whether what comes after `entry`, or the trail's end, names it."""
    after = AuditEntry.objects.filter(seq=entry.seq + 1).order_by("pk").first()
    return entry.hash == (after.prev if after else head.hash)
