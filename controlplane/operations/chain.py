"""The chain of the audit trail: what is hashed, and how an entry is put at the end (docs/audit.md).

An entry's hash is SHA-256 over its canonical form: one JSON object of all its fields but the hash itself, in RFC 8785's
spelling (keys sorted, no blanks, UTF-8). It holds the hash of the entry before, and so all that came before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from controlplane.operations.models import AuditEntry, AuditHead

GENESIS = "0" * 64  # `prev` of the first entry
VERSION = 2

# Our names of the columns; each form is fixed for ever: another one gets another version.
_FIRST = {
    "actor": "actor_id",
    "actor_name": "actor_name",
    "detail": "detail",
    "door": "door",
    "environment": "environment",
    "host": "host_name",
    "operation": "operation_id",
    "outcome": "outcome",
    "prev": "prev",
    "refers_to": "refers_to",
    "result": "result",
    "seconds": "seconds",
    "seq": "seq",
    "target_id": "target_id",
    "target_kind": "target_kind",
    "target_name": "target_name",
    "token": "token_id",
    "token_name": "token_name",
    "verb": "verb",
    "version": "version",
}
_COLUMNS = {1: _FIRST, 2: {**_FIRST, "environment_id": "environment_row_id"}}


def fields(entry: AuditEntry) -> dict[str, Any]:
    """What is hashed: strings, whole numbers and null."""
    columns = _COLUMNS.get(entry.version, _COLUMNS[VERSION])
    found = {name: getattr(entry, column) for name, column in columns.items()}
    # A column that is no text may come back in another spelling than it was written in.
    return {**found, "at": moment(entry.at), "ip": address(entry.ip), "outcome": str(entry.outcome)}


def canonical(said: dict[str, Any]) -> bytes:
    """RFC 8785, for what `fields` gives."""
    return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(entry: AuditEntry) -> str:
    return hashlib.sha256(canonical(fields(entry))).hexdigest()


def is_whole(entry: AuditEntry) -> bool:
    """Whether it is as it was written: its hash fits, and a column that its version does not know is empty."""
    return digest(entry) == entry.hash and (entry.version >= 2 or entry.environment_row_id is None)


def follows(entry: AuditEntry) -> bool:
    """Whether it holds the hash of the entry before it, whoever may see that one."""
    before = AuditEntry.objects.filter(seq=entry.seq - 1).values_list("hash", flat=True).first()
    return entry.prev == (before or (GENESIS if entry.seq == 1 else ""))


def line(entry: AuditEntry) -> str:
    """The entry as it is exported: the canonical form with the hash in it, on one line."""
    return canonical({**fields(entry), "hash": entry.hash}).decode()


def moment(at: datetime) -> str:
    """In UTC, to the microsecond: 2026-11-29T15:55:54.000123Z."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def address(text: str | None) -> str | None:
    """An IP address in one spelling; None for anything else, such as the name of a unix socket."""
    try:
        found = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return str(found.ipv4_mapped or found) if isinstance(found, IPv6Address) else str(found)


def append(entries: Sequence[AuditEntry]) -> None:
    """Put `entries` at the end, in their order, in the present transaction.

    Whoever appends holds the head's row until their transaction ends, and others wait for it: on PostgreSQL by the
    row's lock, on SQLite by the database's, which IMMEDIATE took at the beginning.
    """
    if not entries:
        return
    with transaction.atomic():
        head = _locked_head()
        for entry in entries:
            head.seq += 1
            entry.seq, entry.prev, entry.version = head.seq, head.hash, VERSION
            entry.hash = head.hash = digest(entry)
        # The manager refuses to write; this is the one place that does.
        rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
        rows.bulk_create(entries, batch_size=100)
        AuditHead.objects.filter(pk=head.pk).update(seq=head.seq, hash=head.hash)


def _locked_head() -> AuditHead:
    head = AuditHead.objects.select_for_update().filter(pk=1).first()
    if head is None:
        last = AuditEntry.objects.order_by("-seq").first()
        begun = {"seq": last.seq, "hash": last.hash} if last else {"seq": 0, "hash": GENESIS}
        AuditHead.objects.bulk_create([AuditHead(pk=1, **begun)], ignore_conflicts=True)
        head = AuditHead.objects.select_for_update().get(pk=1)
    return head
