"""Blocking calls from an event loop: a cancellation is never lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from controlplane.lib.threads import in_thread

# It looks after the thread's database connections, which another test may have left there.
pytestmark = pytest.mark.django_db(transaction=True)


async def test_it_gives_the_result_and_raises_the_error() -> None:
    assert await in_thread(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_a_task_cancelled_during_the_call_ends_when_the_call_has() -> None:
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        go_on.wait(10)
        done.set()

    async def for_ever() -> None:
        while True:
            await in_thread(call)

    task = asyncio.create_task(for_ever())
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
