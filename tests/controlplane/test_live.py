"""What an open page is told of changes."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest

from controlplane.lib import live
from controlplane.live import LiveConsumer
from tests.support.redis import RedisServer


class SlowPage(LiveConsumer):
    """Something changes while its browser is being told of the change before."""

    def __init__(self) -> None:
        super().__init__()
        self.changed, self.flusher = set(), None
        self.topics = {"first", "later.1", "later.2"}
        self.told: list[list[str]] = []

    async def send(self, text_data: str | None = None, *args: Any, **kwargs: Any) -> None:
        self.told.append(json.loads(text_data or "")["changed"])
        if len(self.told) < 3:
            await self.live_changed({"topic": f"later.{len(self.told)}"})


async def test_what_changes_while_it_is_told_is_told_too() -> None:
    page = SlowPage()
    await page.live_changed({"topic": "first"})
    assert page.flusher
    await page.flusher
    assert page.told == [["first"], ["later.1"], ["later.2"]]


async def test_a_page_that_leaves_while_redis_is_asked_leaves_nothing_behind(redis_server: RedisServer) -> None:
    """redis-py loses a cancellation that comes while it connects, and leaves the connection it was making."""
    assert await _cancelled_everywhere() > 5
    gc.collect()  # a connection that was left warns of itself, and a warning fails the test


async def _cancelled_everywhere() -> int:
    """At how many points of the way it was cancelled, and heeded that."""
    for steps in range(1, 40):
        live._run = (-live.RUN_KEPT_SECONDS, "")
        task = asyncio.create_task(live.redis_run())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            return steps
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    return steps
