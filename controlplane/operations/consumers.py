"""An operation's output, from the start and then as it comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from controlplane.access.decide import fetch
from controlplane.lib.lists import row_ids
from controlplane.lib.live import LAYER_ERRORS, group
from controlplane.lib.threads import in_thread
from controlplane.operations.models import Operation, OperationOutput
from controlplane.operations.sockets import AuditedConsumer

BATCH_ROWS = 500
# Should a live fact be lost, the next look at the database comes this soon.
LOOK_SECONDS = 2.0


class OutputConsumer(AuditedConsumer):
    """Sends `{"lines": [[seq, time, stream, text], …]}`, resuming after `?after=<seq>`, then `{"ended": state}`."""

    operation: Operation

    def authorise(self) -> None:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        self.operation = fetch(self.scope["user"], "operation.see", Operation.objects.all(), see="operation.see", pk=pk)

    def is_there(self) -> bool:
        return Operation.objects.filter(pk=self.operation.pk).exists()

    async def opened(self) -> None:
        after = self.scope["query_string"].decode("latin-1").removeprefix("after=")
        self.cursor = next(iter(row_ids([after])), -1)
        self.news = asyncio.Event()
        self.news.set()
        try:
            await self.channel_layer.group_add(group(f"operation.{self.operation.pk}"), self.channel_name)
        except LAYER_ERRORS:
            pass  # the regular look goes on without it
        self.sender = asyncio.create_task(self._send_all())

    async def closed(self) -> None:
        if hasattr(self, "sender"):
            self.sender.cancel()
            try:
                await self.channel_layer.group_discard(group(f"operation.{self.operation.pk}"), self.channel_name)
            except LAYER_ERRORS:
                pass

    async def live_changed(self, event: dict[str, Any]) -> None:
        self.news.set()

    async def _send_all(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.news.wait()
            except TimeoutError:
                pass
            self.news.clear()
            ended = await in_thread(self._ended)
            while rows := await in_thread(self._next_rows):
                self.cursor = rows[-1][0]
                await self.send(json.dumps({"lines": rows}))
            if ended:
                await self.send(json.dumps({"ended": ended}))
                await self.close()
                return

    def _ended(self) -> str:
        operation = Operation.objects.get(pk=self.operation.pk)
        return operation.state if operation.is_finished else ""

    def _next_rows(self) -> list[tuple[int, str, str, str]]:
        rows = OperationOutput.objects.filter(operation=self.operation, seq__gt=self.cursor)
        return [(row.seq, row.at.isoformat(), row.stream, row.text) for row in rows[:BATCH_ROWS]]
