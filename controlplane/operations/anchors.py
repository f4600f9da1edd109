"""Where the chain stood, kept outside the database: who cuts off its end together with the head is found out.

One line of JSON for each minute in which something was written, in `GANTRY_HOME/audit/anchors-YYYY-MM.jsonl` of the
machine that did it, and in its log. The files only grow, and are small: keep them with the backups, or elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from controlplane.lib.home import private_folder
from controlplane.operations import chain
from controlplane.operations.models import AuditEntry, AuditHead

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anchor:
    """The last entry at a moment (UTC, as entries write it)."""

    at: str
    seq: int
    hash: str


def folder() -> Path:
    return Path(settings.GANTRY_HOME) / "audit"


def read() -> Iterator[Anchor]:
    """All that this machine has, oldest first. A line that was cut off by a crash is passed over."""
    for path in sorted(folder().glob("anchors-*.jsonl")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if anchor := _parsed(line):
                    yield anchor


def _parsed(line: str) -> Anchor | None:
    try:
        said = json.loads(line)
        return Anchor(str(said["at"]), int(said["seq"]), str(said["hash"]))
    except (ValueError, KeyError, TypeError):
        return None


def last() -> Anchor | None:
    """The newest, from the end of the newest file."""
    for path in sorted(folder().glob("anchors-*.jsonl"), reverse=True):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
        for line in reversed(lines):
            if anchor := _parsed(line):
                return anchor
    return None


def drop() -> Anchor | None:
    """Write down where the chain stands, when it has grown; and say so loudly when the last anchor fits no more."""
    head = AuditHead.objects.filter(pk=1).first()
    before = last()
    if before is not None:
        found = AuditEntry.objects.filter(seq=before.seq).values_list("hash", flat=True).first()
        if found != before.hash:
            log.error(
                "the audit trail was tampered with: entry %s is not the one of %s; run manage.py audit_verify",
                before.seq,
                before.at,
            )
    if head is None or head.seq == 0 or (before is not None and (before.seq, before.hash) == (head.seq, head.hash)):
        return None
    anchor = Anchor(chain.moment(timezone.now()), head.seq, head.hash)
    _append(anchor)
    log.info("audit trail: entry %s has the hash %s", anchor.seq, anchor.hash)
    return anchor


def _append(anchor: Anchor) -> None:
    path = private_folder(folder()) / f"anchors-{anchor.at[:7]}.jsonl"
    text = json.dumps(asdict(anchor), sort_keys=True, separators=(",", ":"))
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        # A line that a crash cut off is ended first, so that this one stands by itself.
        torn = size > 0 and file.read(1) != b"\n"
        file.write(b"\n" * torn + text.encode() + b"\n")
        os.fsync(descriptor)
