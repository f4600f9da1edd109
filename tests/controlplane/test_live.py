"""What an open page is told of changes."""

from __future__ import annotations

import json
from typing import Any

from controlplane.live import LiveConsumer


class SlowPage(LiveConsumer):
    """Something changes while its browser is being told of the change before."""

    def __init__(self) -> None:
        super().__init__()
        self.changed, self.flusher = set(), None
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
