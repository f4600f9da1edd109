"""Answers that stream progress: pull, push, load, import."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from gantry_agent.engine.errors import EngineError, told
from gantry_agent.engine.images.progress import Progress, failure

log = logging.getLogger(__name__)

PATIENCE = 0.25  # seconds of silence after which we look whether the client is still there

Work = Callable[[Progress], Awaitable[None]]


async def stream_progress(request: web.Request, work: Work) -> web.StreamResponse:
    """Run `work`, streaming what it says. The work is cancelled when the client goes.

    An error before the first message is raised, and so becomes the answer's status; one after it is the last line,
    as with Docker.
    """
    progress = Progress()
    task = asyncio.ensure_future(work(progress))
    task.add_done_callback(lambda _: progress.close())
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    try:
        async for batch in progress.batches(PATIENCE):
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
            if batch and not response.prepared:
                await response.prepare(request)
            if batch:
                await response.write(batch)
        try:
            await task
        except EngineError as exc:
            if not response.prepared:
                raise
            await response.write(failure(exc.message, getattr(exc, "code", 0)))
        except Exception as exc:
            if not response.prepared:
                raise
            # The middleware, which says so otherwise, can say nothing once an answer has begun.
            log.exception("%s %s failed", request.method, request.path)
            await response.write(failure(told(exc)))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response
