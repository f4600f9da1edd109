"""Cancelling a task in the middle of what does not bear it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")


def heed() -> None:
    """Raise CancelledError when this task was asked to end. To be called after a library that may have lost it.

    redis-py (8.1) loses a cancellation that comes while it connects: the call goes on, and a loop around it for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def to_its_end(work: Awaitable[R]) -> R:
    """The result of `work`, in a task of its own. A cancellation waits for it to end and is then raised."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at: whoever cancelled does not wait for it
        raise
