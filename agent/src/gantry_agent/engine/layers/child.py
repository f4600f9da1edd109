"""A worker process as the event loop sees it: bytes in, bytes out, one report."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
from typing import Any, Self

from gantry_agent.engine.errors import EngineError, Internal, InvalidArgument

from .nursery import nursery

log = logging.getLogger(__name__)

PIPE_SIZE = 1 << 20  # bytes
READ_SIZE = 1 << 20
MAX_REPORT = 64 << 20  # bytes: the changes of a large container travel in it


class Refused(Internal):
    """The system refused something; `number` is its errno."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Child:
    """One worker. Killed when the context ends before `finish` was reached."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._process = -1  # a pidfd
        self._stdin = self._stdout = self._report = -1
        self._result: dict[str, Any] | None = None

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close_pipes()
        if self._process >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            await asyncio.shield(asyncio.ensure_future(self._wait()))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand bytes to the worker's standard input, waiting for room. Raises what the worker reports."""
        view = memoryview(data)
        while view and self._stdin >= 0:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await _ready(self._stdin, for_writing=True)
            except BrokenPipeError:
                await self.finish()
                return  # a worker that has all it needs may close before everything is read

    async def read(self) -> bytes:
        """The next bytes of the worker's standard output, b"" at its end; `finish` then says whether all is well."""
        while True:
            try:
                return os.read(self._stdout, READ_SIZE)
            except BlockingIOError:
                await _ready(self._stdout)

    def close_input(self) -> None:
        """Say that nothing more will be written."""
        self._stdin = _close(self._stdin)

    async def finish(self) -> dict[str, Any]:
        """Wait for the report. Raises InvalidArgument for refused content, Refused when the system does."""
        if self._result is None:
            self.close_input()
            content = bytearray()
            while chunk := await self._read_report():
                content += chunk
            await self._wait()
            self._result = self._parse(bytes(content))
        if error := failure(self._result):
            raise error
        return dict(self._result["done"])

    async def _read_report(self) -> bytes:
        while True:
            try:
                return os.read(self._report, READ_SIZE)
            except BlockingIOError:
                await _ready(self._report)

    def _parse(self, content: bytes) -> dict[str, Any]:
        if not content or len(content) > MAX_REPORT:
            return {"died": f"the worker for {self._job['do']} ended without a report"}
        found: dict[str, Any] = json.loads(content)
        return found

    def _start(self) -> None:
        ours, theirs = _pipes()
        self._stdin, self._stdout, self._report = ours
        try:
            self._process = (
                -1 if (process := nursery.spawn(json.dumps(self._job).encode(), theirs)) is None else process
            )
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    async def _wait(self) -> None:
        """Until the worker has ended."""
        if self._process >= 0:
            process, self._process = self._process, -1
            try:
                await _ready(process)
            finally:
                os.close(process)

    def _close_pipes(self) -> None:
        self._stdin, self._stdout, self._report = _close(self._stdin), _close(self._stdout), _close(self._report)


def failure(report: dict[str, Any]) -> EngineError | None:
    """The error a report tells of."""
    if "refused" in report:
        return InvalidArgument(report["refused"])
    if "errno" in report:
        place = f" at {report['path']}" if report.get("path") else ""
        return Refused(report["errno"], f"{report['message']}{place}")
    return Internal(report["died"]) if "died" in report else None


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Three pipes: our ends (write, read, read), non-blocking, and the worker's."""
    (stdin, to_child), (from_child, stdout), (report, to_report) = os.pipe(), os.pipe(), os.pipe()
    for descriptor in (to_child, from_child, report):
        os.set_blocking(descriptor, False)
    for descriptor in (to_child, from_child):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            log.debug("the pipe stays small")
    return (to_child, from_child, report), (stdin, stdout, to_report)


def _close(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _ready(descriptor: int, *, for_writing: bool = False) -> None:
    """Wait until a descriptor can be read or written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    add(descriptor, _tell, ready)
    try:
        await ready
    finally:
        remove(descriptor)
