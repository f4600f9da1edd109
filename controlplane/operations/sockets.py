"""The base of a stream whose refusal, beginning and end are written into the audit trail."""

from __future__ import annotations

import time
from typing import Any

from controlplane.lib import origin
from controlplane.lib.sockets import SignedInConsumer
from controlplane.lib.threads import in_thread
from controlplane.operations import refusals
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry


class AuditedConsumer(SignedInConsumer):
    """As SignedInConsumer, with refusals written down."""

    async def refused(self, exc: Exception) -> None:
        await in_thread(refusals.note, self.scope["user"], exc, f"WebSocket {self.scope['path']}")


class Reading:
    """One stream of what is private: an entry when it begins, one with its duration when it ends.

    `said` goes to `record`, for both. Made where the origin is known: the end of a download comes after its request.
    """

    def __init__(self, actor: Any, verb: str, **said: Any) -> None:
        self._actor, self._verb, self._said = actor, verb, said
        self._from = origin.current()
        self._since = 0.0
        self._first: AuditEntry | None = None

    @property
    def is_open(self) -> bool:
        return self._first is not None

    def _write(self, detail: str, **more: Any) -> AuditEntry:
        with origin.entered(**vars(self._from)):
            return record(self._actor, self._verb, detail=detail, **self._said, **more)

    def begin(self, detail: str) -> AuditEntry:
        """Write the first entry; without it there is nothing to be read."""
        self._first = self._write(detail)
        self._since = time.monotonic()
        return self._first

    async def began(self, detail: str) -> AuditEntry:
        """`begin`, from the loop."""
        return await in_thread(self.begin, detail)

    async def ended(self, detail: str) -> AuditEntry | None:
        """Write the last entry; None when there is no first, or it has been written."""
        first, self._first = self._first, None
        if first is None:
            return None
        seconds = round(time.monotonic() - self._since)
        return await in_thread(self._write, detail, result="ended", seconds=seconds, follows=first)
