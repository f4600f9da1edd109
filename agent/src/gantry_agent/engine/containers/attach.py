"""Attaching to a container: its output from the log, from now or from the beginning, its input through conmon."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import logs
from .life import Life
from .log_files import Cursor
from .log_records import Wanted
from .streams import Console, DetachKeys, Duplex, drop_input, give_input
from .watching import Watcher


@dataclass(frozen=True)
class Attachment:
    """What a client asked for. `replays`: what was written before; `follows`: what will be."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    replays: bool = False
    follows: bool = True
    is_framed: bool = True
    keys: str = ""
    """Detach keys, looked for in the input of a terminal; "" for the default."""
    is_tty: bool = False


async def attach(
    client: Duplex, asked: Attachment, place: Cursor, *, socket: Callable[[], Path], life: Life, watcher: Watcher
) -> bool:
    """Carry bytes until the container's run ends, the client goes, or detaches (True).

    `place`: where in the log its output begins (see `placed`), taken before the client is told that it is attached, or
    it would miss what a container that it starts now writes first.
    """
    writing = asyncio.create_task(_output(client, asked, place, life, watcher))
    reading = asyncio.create_task(_input(client, asked, socket, life))
    gone = asyncio.create_task(client.gone.wait())
    tasks: set[asyncio.Task[Any]] = {writing, reading, gone}
    try:
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done() and not gone.done() and not reading.result():
                await asyncio.wait((writing, gone), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        return reading.done() and not reading.cancelled() and reading.exception() is None and reading.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        place.close()


async def placed(log: Path, asked: Attachment) -> Cursor:
    """Where in the log an attachment begins.

    An empty log is made for a container that was never started: one that is started now, ends at once and removes
    itself could be gone before a reader finds the file. conmon appends to it.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    return await logs.place(log, _wanted(asked), from_end=not asked.replays, ends_now=not asked.follows)


def _wanted(asked: Attachment) -> Wanted:
    return Wanted(stdout=asked.stdout, stderr=asked.stderr, is_framed=asked.is_framed, joins=False)


async def _output(client: Duplex, asked: Attachment, place: Cursor, life: Life, watcher: Watcher) -> None:
    """Write output until the log, or the run, ends."""
    if not (asked.stdout or asked.stderr):
        await life.end()
        return
    follows = life if asked.follows else None
    async with contextlib.aclosing(logs.read(place, _wanted(asked), life=follows, watcher=watcher)) as pieces:
        async for data in pieces:
            if data:
                await client.write(data)


async def _input(client: Duplex, asked: Attachment, socket: Callable[[], Path], life: Life) -> bool:
    """Carry input; True when the client detached."""
    if not asked.stdin:
        await drop_input(client)
        return False
    await life.begin()
    try:
        console = await Console.connect(socket(), reads=False)
    except OSError:
        await drop_input(client)  # it has ended already
        return False
    try:
        keys = DetachKeys(asked.keys) if asked.is_tty else None
        is_detached = await give_input(client, console, keys)
        if not is_detached and not life.is_over():
            # The connection stays until the end: conmon counts who may still write.
            await life.end()
        return is_detached
    finally:
        console.close()
