"""Runs one claimed operation: its heartbeat, its output, its cancellation, its end."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, transaction
from django.utils import timezone

from controlplane.access.decide import require
from controlplane.lib.errors import Conflict, GantryError, Lost, Refused
from controlplane.lib.live import publish
from controlplane.lib.threads import in_thread
from controlplane.operations import kinds, lifecycle
from controlplane.operations.audit import as_asked, record
from controlplane.operations.models import HEARTBEAT, Operation, OperationOutput, Outcome, State

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.3
# An operation keeps this much output; what comes after is counted, not kept.
OUTPUT_LIMIT = 4 * 1024 * 1024
MARKS = frozenset({"step", "done"})  # streams that say where parts begin and end: few, and kept whatever there is


class Superseded(Exception):
    """This run was given up for dead and somebody else has taken the operation: stop, write nothing."""


class Work:
    """What a kind's `run` is given: the operation, and the way to tell how it goes.

    `params` and `host` are the operation's. `say` and `progress` only buffer; the keeper writes every
    FLUSH_SECONDS, so that a thousand progress messages a second cost three writes.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.params: dict[str, Any] = operation.params
        self.host = operation.host
        self.result: dict[str, Any] = dict(operation.result)
        self._progress: dict[str, dict[str, Any]] = dict(operation.progress)
        self._lines: list[tuple[str, str]] = []
        self._seq = _next_seq(operation)
        self._kept = 0
        self._dropped = 0
        self._dirty = False
        self._target: dict[str, str] = {}
        self._writing = asyncio.Lock()

    def say(self, text: str, stream: str = "info") -> None:
        """Add a line to the output. `stream`: info, note, stdout, stderr, or one of MARKS."""
        if stream not in MARKS:
            if self._kept + len(text) > OUTPUT_LIMIT:
                self._dropped += 1
                return
            self._kept += len(text)
        self._lines.append((stream, text))

    def progress(self, key: str, status: str, current: int | None = None, total: int | None = None) -> None:
        """Set one part's progress; `current` and `total` in the part's own unit, None when not known."""
        self._progress[key] = {"status": status, "current": current, "total": total}
        self._dirty = True

    def total_of(self, key: str) -> int | None:
        """The total last given for a part."""
        return self._progress.get(key, {}).get("total")

    async def made(self, kind: str, engine_id: str, name: str) -> None:
        """The operation has made something: from here on it is listed under that."""
        self._target = {"target_kind": kind, "target_id": engine_id, "target_name": name}
        await self.checkpoint()

    async def checkpoint(self) -> None:
        """Write what was said and `result` now: what follows must not be done without a trace of it.

        Raises Superseded when another has taken the operation over: then what follows must not be done at all.
        """
        self._dirty = True
        await self.flush()

    async def flush(self) -> None:
        """Write buffered output, progress and heartbeat. Raises Superseded when the claim is no longer ours.

        What is written is taken here, on the loop's own thread: the work goes on talking meanwhile.
        """
        async with self._writing:
            lines, self._lines = self._lines, []
            dirty, self._dirty = self._dirty, False
            fields: dict[str, Any] = {"heartbeat_at": timezone.now()}
            if dirty:
                progress = {key: dict(part) for key, part in self._progress.items()}
                fields |= {"progress": progress, "result": dict(self.result), **self._target}
            try:
                await in_thread(self._write, fields, lines)
            except DatabaseError:
                self._lines, self._dirty = lines + self._lines, dirty or self._dirty
                raise

    def _write(self, fields: dict[str, Any], lines: list[tuple[str, str]]) -> None:
        with transaction.atomic():
            mine = Operation.objects.filter(pk=self.operation.pk, claim=self.operation.claim, state=State.RUNNING)
            if mine.update(**fields) != 1:
                raise Superseded
            OperationOutput.objects.bulk_create(
                OperationOutput(operation=self.operation, seq=self._seq + n, stream=stream, text=text)
                for n, (stream, text) in enumerate(lines)
            )
            if lines or "progress" in fields:
                publish(f"operation.{self.operation.pk}")
        # Here and not in `flush`: a cancelled flush does not stop the thread that writes for it.
        self._seq += len(lines)

    @property
    def has_news(self) -> bool:
        return bool(self._lines) or self._dirty

    def conclude(self, error: str) -> None:
        """The last words: how much was not kept, and what went wrong."""
        if self._dropped:
            size = OUTPUT_LIMIT // 1024 // 1024
            self._lines.append(("gantry", f"{self._dropped:,} more lines were not kept (limit {size} MiB)."))
        if error:
            self._lines.append(("stderr", error))


def _next_seq(operation: Operation) -> int:
    """Where the output goes on: an earlier attempt may have written some."""
    last = OperationOutput.objects.filter(operation=operation).order_by("-seq").first()
    return last.seq + 1 if last else 0


def run(operation: Operation) -> None:
    """Run a claimed operation to its end and write that end. Blocks; for a worker's thread."""
    async_to_sync(_run)(Work(operation))


async def _run(work: Work) -> None:
    operation = work.operation
    kind = kinds.get(operation.kind)
    body = asyncio.create_task(_do(kind, work))
    keeper = asyncio.create_task(_keep(work, body))
    try:
        state, error, hint = await _outcome(body, operation)
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
    work.conclude(error)
    try:
        await work.checkpoint()
    except Superseded:
        log.warning("operation %s was taken over while it ran here", operation.pk)
        return
    await in_thread(lifecycle.finish, operation, state, error=error, hint=hint)


async def _do(kind: kinds.Kind, work: Work) -> None:
    await in_thread(_ask_again, kind, work.operation)
    await kind.run(work)


def _ask_again(kind: kinds.Kind, operation: Operation) -> None:
    """Whoever asked for it had the right then; it may have ended while this waited."""
    asker = operation.asker
    if asker is None:
        raise Conflict("Whoever asked for this has been removed.")
    for target in kind.targets(operation):
        require(asker, kind.verb, target)


async def _outcome(body: asyncio.Task[None], operation: Operation) -> tuple[str, str, str]:
    try:
        await body
    except asyncio.CancelledError:
        if not body.cancelled():
            raise  # we are being cancelled, not the work
        return State.CANCELLED, "", ""
    except Superseded:
        return State.LOST, "", ""  # which is not written: the checkpoint that follows raises it again
    except Lost as exc:
        return State.LOST, exc.message, exc.hint
    except GantryError as exc:
        if isinstance(exc, Refused):
            await in_thread(_audit_refusal, operation, exc)
        return State.FAILED, exc.message, exc.hint
    except Exception as exc:
        log.exception("operation %s (%s) broke", operation.pk, operation.kind)
        return State.FAILED, f"Gantry failed: {type(exc).__name__}: {exc}", "See the worker's log."
    return State.SUCCEEDED, "", ""


def _audit_refusal(operation: Operation, error: Refused) -> None:
    """What was allowed when it was asked for is refused now that it is done."""
    with as_asked(operation):
        record(
            operation.actor or AnonymousUser(),
            error.verb,
            target_kind=operation.target_kind,
            target_id=operation.target_id,
            target_name=operation.target_name,
            host=operation.host,
            host_name=operation.host_name,
            outcome=Outcome.REFUSED,
            detail=f"{operation.title}: {error.told or error.message}",
            operation=operation,
            stranger=operation.actor_name,
        )


async def _keep(work: Work, body: asyncio.Task[None]) -> None:
    """Flush, renew the heartbeat, and look whether somebody has asked to cancel."""
    beats_every = max(1, int(HEARTBEAT.total_seconds() / FLUSH_SECONDS))
    for tick in itertools.count(1):
        await asyncio.sleep(FLUSH_SECONDS)
        try:
            if work.has_news or tick % beats_every == 0:
                await work.flush()
            if tick % 2 == 0 and await in_thread(_cancel_requested, work.operation.pk):
                body.cancel()
                return
        except Superseded:
            body.cancel()
            return
        except DatabaseError as exc:
            log.warning("operation %s: database: %s", work.operation.pk, exc)


def _cancel_requested(operation_id: int) -> bool:
    return Operation.objects.filter(pk=operation_id, cancel_requested_at__isnull=False).exists()
