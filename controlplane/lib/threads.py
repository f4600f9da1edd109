"""Calling blocking code (the database above all) from an event loop, in such a way that cancelling works."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from channels.db import database_sync_to_async

from controlplane.lib.cancelling import to_its_end

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `function(…)`, run in the thread for database work with its connections looked after.

    A cancellation waits for the call to end and is then raised. asgiref alone swallows it: its call returns as if
    nothing had happened, and a task that was told to end goes on for ever.
    """
    return await to_its_end(database_sync_to_async(function)(*args, **kwargs))
