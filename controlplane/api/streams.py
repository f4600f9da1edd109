"""What comes bit by bit: an operation's output, a container's log. One JSON object a line, or server-sent events.

Each piece is fetched when the one before it has been sent, so that a slow reader slows its own stream alone. The token
and the right are asked again every few seconds. The last object says why it ended: {"type": "end", "reason": …}.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from django.db import DatabaseError
from django.http import Http404, HttpRequest, StreamingHttpResponse

from containers.logs import LogQuery, ending, has_terminal
from containers.models import Container
from controlplane.access import tokens
from controlplane.access.models import Token, User
from controlplane.lib.errors import Forbidden, GantryError, NotFound, Unavailable
from controlplane.lib.threads import in_thread
from controlplane.operations.audit import client_ip
from controlplane.operations.models import Operation, OperationOutput
from controlplane.operations.sockets import Reading
from hosts.engine import STDERR, demultiplex, engine_for, explain

log = logging.getLogger(__name__)

Record = dict[str, Any]
Batches = AsyncIterator[list[Record]]

RECHECK_SECONDS = 5.0
LOOK_SECONDS = 0.5  # between two looks for more of an operation's output
BATCH_ROWS = 500
LONGEST_LINE = 64 * 1024  # bytes; a longer one comes in parts
CHUNK = 64 * 1024
INSPECT_SECONDS = 10.0
NDJSON, EVENTS = "application/x-ndjson", "text/event-stream"

_RECORD = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["line", "end"]},
        "stream": {"type": "string"},
        "time": {"type": "string"},
        "text": {"type": "string"},
        "seq": {"type": "integer"},
        "reason": {"type": "string"},
    },
}
DESCRIBED: dict[str, Any] = {
    "responses": {
        200: {
            "description": "One object a line; as events when `Accept: text/event-stream` asks for them.",
            "content": {NDJSON: {"schema": _RECORD}, EVENTS: {"schema": {"type": "string"}}},
        }
    }
}


def respond(request: HttpRequest, source: Batches, check: Callable[[User], object]) -> StreamingHttpResponse:
    """`check`: raises Http404 or Forbidden once the caller may not have it any more."""
    as_events = EVENTS in request.headers.get("Accept", "")
    form = _event if as_events else _line
    content = _formed(_watched(source, _asking(request, check)), form)
    return _streamed(content, f"{EVENTS if as_events else NDJSON}; charset=utf-8")


def respond_with_bytes(
    request: HttpRequest, source: AsyncIterator[bytes], check: Callable[[User], object], content_type: str
) -> StreamingHttpResponse:
    """A file. It says nothing of its end: when the token or the right ends meanwhile, it breaks off."""
    return _streamed(_broken_off(source, _asking(request, check)), content_type)


def _streamed(content: AsyncIterator[bytes], content_type: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(content, content_type=content_type)
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


def _asking(request: HttpRequest, check: Callable[[User], object]) -> Callable[[], str]:
    """Asks why the caller may have no more of it; "": they may."""
    token: Token = request.token  # type: ignore[attr-defined]
    ip = client_ip(request)

    def why_not() -> str:
        try:
            check(tokens.still_good(token, ip))
        except tokens.SecondFactorMissing:
            return "a second factor is asked for"
        except tokens.Refused:
            return "the token ended"
        except (Http404, Forbidden):
            return "the right ended"
        return ""

    return why_not


async def _broken_off(source: AsyncIterator[bytes], why_not: Callable[[], str]) -> AsyncIterator[bytes]:
    due = time.monotonic() + RECHECK_SECONDS
    async with aclosing(source):  # type: ignore[type-var]
        async for data in source:
            if time.monotonic() >= due:
                if why := await _asked(why_not):
                    raise Http404(f"The download breaks off: {why}.")
                due = time.monotonic() + RECHECK_SECONDS
            yield data


def _line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _event(record: Record) -> str:
    ident = f"id: {record['seq']}\n" if "seq" in record else ""
    return f"{ident}event: {record['type']}\ndata: {json.dumps(record, ensure_ascii=False)}\n\n"


async def _formed(source: Batches, form: Callable[[Record], str]) -> AsyncIterator[bytes]:
    async with aclosing(source):  # type: ignore[type-var]
        async for batch in source:
            yield "".join(map(form, batch)).encode(errors="replace")


async def _watched(source: Batches, why_not: Callable[[], str]) -> Batches:
    """What `source` gives, until it ends or `why_not` gives a reason."""
    coming: asyncio.Task[list[Record] | None] | None = None
    due = time.monotonic() + RECHECK_SECONDS
    try:
        while True:
            coming = coming or asyncio.create_task(_next(source))
            await asyncio.wait({coming}, timeout=max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                if why := await _asked(why_not):
                    yield [_end(why)]
                    return
                due = time.monotonic() + RECHECK_SECONDS
            if coming.done():
                batch, coming = coming.result(), None
                if batch is None:
                    return
                yield batch
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await source.aclose()  # type: ignore[attr-defined]


async def _next(source: Batches) -> list[Record] | None:
    return await anext(source, None)


async def _asked(why_not: Callable[[], str]) -> str:
    try:
        return await in_thread(why_not)
    except DatabaseError as exc:
        # Nobody can take a right away meanwhile either; the next round asks again.
        log.warning("a stream's right could not be checked: %s", exc)
        return ""


def _end(reason: str, **more: Any) -> Record:
    return {"type": "end", "reason": reason, **more}


async def output(operation: Operation, after: int, *, follow: bool) -> Batches:
    """An operation's output behind `after`."""
    while True:
        # First whether it has ended: what it said before that is then there to be read.
        ended = await in_thread(_ended, operation.pk)
        while rows := await in_thread(_rows, operation.pk, after):
            after = rows[-1]["seq"]
            yield rows
        if ended or not follow:
            yield [_end("the operation ended" if ended else "that is all so far", state=ended or "unfinished")]
            return
        await asyncio.sleep(LOOK_SECONDS)


def _ended(pk: int) -> str:
    operation = Operation.objects.filter(pk=pk).only("state").first()
    if operation is None:
        return "gone"
    return operation.state if operation.is_finished else ""


def _rows(pk: int, after: int) -> list[Record]:
    rows = OperationOutput.objects.filter(operation=pk, seq__gt=after)[:BATCH_ROWS]
    return [
        {"type": "line", "seq": row.seq, "time": row.at.isoformat(), "stream": row.stream, "text": row.text}
        for row in rows
    ]


async def logs(container: Container, wanted: LogQuery, reading: Reading) -> Batches:
    """A container's log, line by line. `wanted` has timestamps. That it was read is written down, with its end."""
    path = f"/containers/{container.engine_id}"
    try:
        async with engine_for(container.host) as engine:
            inspection = await engine.get(f"{path}/json", timeout=INSPECT_SECONDS)
            # No time limit: Podman sends even the headers only with the log's next line.
            async with engine.stream("GET", f"{path}/logs", timeout=None, **wanted.parameters()) as response:
                await reading.began(f"followed the log: {wanted}" if wanted.follow else f"read the log: {wanted}")
                lines = _lines(response.content, tty=has_terminal(inspection))
                async with aclosing(lines):  # type: ignore[type-var]
                    async for batch in lines:
                        yield batch
            said = ending(await engine.get(f"{path}/json", timeout=INSPECT_SECONDS))
    except NotFound:
        yield [_end("the container is gone")]
    except GantryError as exc:
        message, hint = explain(exc, "container.logs")
        yield [_end("the host is away" if isinstance(exc, Unavailable) else "refused", detail=message, hint=hint)]
    else:
        yield [_end("the log ended", **{name: said[name] for name in ("running", "state", "exit_code")})]
    finally:
        await reading.ended("the log was left")


async def _lines(content: Any, *, tty: bool) -> Batches:
    readers = {name: _Lines(name) for name in ("stdout", "stderr")}
    if tty:
        while data := await content.read(CHUNK):
            if batch := readers["stdout"].feed(data):
                yield batch
    else:
        async for stream, data in demultiplex(content):
            if batch := readers["stderr" if stream == STDERR else "stdout"].feed(data):
                yield batch
    rest = [record for reader in readers.values() for record in reader.feed(b"", last=True)]
    if rest:
        yield rest


class _Lines:
    """Takes one stream's bytes as they come, gives out lines; holds no more than one."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._rest = ""

    def feed(self, data: bytes, *, last: bool = False) -> list[Record]:
        *whole, self._rest = (self._rest + self._decode(data, last)).split("\n")
        if self._rest and (last or len(self._rest) > LONGEST_LINE):
            whole, self._rest = [*whole, self._rest], ""
        return [self._record(line.removesuffix("\r")) for line in whole]

    def _record(self, line: str) -> Record:
        moment, _, text = line.partition(" ")
        if not moment[:4].isdigit() or "T" not in moment:  # the second part of a line that was cut
            moment, text = "", line
        return {"type": "line", "stream": self._stream, "time": moment, "text": text}
