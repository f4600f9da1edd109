"""Ending a task in spite of a library that forgets that it was asked to.

redis-py (8.1) loses a cancellation that comes while it connects: the call goes on, and a loop around it for ever.
"""

from __future__ import annotations

import asyncio


def heed() -> None:
    """Raise CancelledError when this task was asked to end. To be called after a library that may have lost it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
