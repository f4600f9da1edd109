"""Changes that are not left half-done when whoever asked for them goes away."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_running: set[asyncio.Task[Any]] = set()


def whole(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]:
    """Once begun, the coroutine runs to its end; a caller that is cancelled only stops waiting for it.

    So what is in memory follows what was written, and a lock is held until then.
    """

    @functools.wraps(method)
    async def run(*arguments: P.args, **named: P.kwargs) -> T:
        task = asyncio.get_running_loop().create_task(method(*arguments, **named))
        _running.add(task)
        task.add_done_callback(_running.discard)
        return await asyncio.shield(task)

    return run
