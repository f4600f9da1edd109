"""Ending a process at each of its durable steps, as `kill -9` would, and looking at what it left.

The steps are the functions of `store/files.py` and the transactions of the database. Each counts twice: before it is
done and after. A work is an importable `async def work(engine, *arguments)`.
"""

import asyncio
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gantry_agent.engine.config import Config
from gantry_agent.engine.core import Engine
from gantry_agent.engine.database import Database
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.store import files

from tests.support.counts import count

STEPS = ("sync_file", "sync_folder", "sync_filesystem", "move", "link", "remove", "remove_tree")
# A server that has everything imported, and no threads, forks a process in milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.engine.crashing", "gantry_agent.engine.api.app"])


class Died(Exception):
    """The work ended with an error of its own; the message is its traceback's last line."""


def run(root: Path, work: str, *arguments: Any, die_at: int = 0) -> int:
    """Open an engine below `root`, do `module:function`, close; the number of steps, or 0 when it died at `die_at`.

    Raises Died when it failed by itself.
    """
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_child, args=(theirs, root, work, arguments, die_at))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        answer = None
    process.join()
    ours.close()
    if process.exitcode == -signal.SIGKILL:
        return 0
    if not isinstance(answer, int):
        raise Died(str(answer))
    return answer


def points(steps: int, most: int) -> Iterator[int]:
    """Steps to die at: `most` spread over the whole, or in a full run all."""
    stride = max(1, -(-steps // count(most, steps)))
    yield from range(1, steps + 1, stride)


def _child(answer: Any, root: Path, work: str, arguments: tuple[Any, ...], die_at: int) -> None:
    module, _, name = work.partition(":")
    counted = _Counted(die_at)
    try:
        asyncio.run(_work(root, getattr(importlib.import_module(module), name), arguments))
    except BaseException as exc:
        answer.send(f"{type(exc).__name__}: {exc}")
        raise
    answer.send(counted.count)


async def _work(root: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    engine = Engine(Layout.at(root, root.with_name("run")), Config())
    await engine.store.open()
    try:
        await work(engine, *arguments)
    finally:
        await engine.store.close()
        engine.database.close()


class _Counted:
    """Puts a counter, and the end, around every step."""

    def __init__(self, die_at: int) -> None:
        self.count = 0
        self._die_at = die_at
        for name in STEPS:
            setattr(files, name, self._around(getattr(files, name)))
        Database._run = self._around(Database._run)  # type: ignore[method-assign]

    def _around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self._tick()
            answer = step(*arguments)
            self._tick()
            return answer

        return counted

    def _tick(self) -> None:
        self.count += 1
        if self.count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
