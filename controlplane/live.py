"""The socket behind every page: tells it which of its topics changed, a few times a second at most."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import parse_qs

from django.db import DatabaseError
from django.db.models import Model, QuerySet

from containers.models import Container
from controlplane.access.decide import allows, visible
from controlplane.lib.cancelling import to_its_end
from controlplane.lib.lists import row_ids
from controlplane.lib.live import LAYER_ERRORS, group, redis_run
from controlplane.lib.sockets import SignedInConsumer
from controlplane.lib.threads import in_thread
from controlplane.operations.models import Operation
from hosts.models import Host

log = logging.getLogger(__name__)

COALESCE_SECONDS = 0.25
MOST_TOPICS = 40
# Redis may have lost our subscriptions (flushed, restarted); asking again is idempotent.
RESUBSCRIBE_SECONDS = 5.0
COME_AGAIN = 1012  # the WebSocket close code of a service that has restarted

VERBS = {
    "hosts": "host.see",
    "host": "host.see",
    "containers": "container.see",
    "container": "container.see",
    "images": "image.see",
    "builds": "image.see",
    "recordings": "recording.see",
    "operations": "operation.see",
    "operation": "operation.see",
}


def _rows(kind: str) -> QuerySet[Any] | None:
    """The table behind the topics that name one object."""
    models: dict[str, type[Model]] = {"host": Host, "container": Container, "operation": Operation}
    return models[kind]._default_manager.all() if kind in models else None


class LiveConsumer(SignedInConsumer):
    """`/ws/live?topics=a,b.7`. Sends `{"changed": [topic, …]}`; takes `{"topics": [topic, …]}` to change them.

    A topic of one object is for those who see it. One of a kind (`containers`) is for whoever sees any of it, and tells
    that something of the kind has changed somewhere: not what, not where.
    """

    def authorise(self) -> None:
        """Being signed in is enough to connect; each topic is asked for by itself."""

    async def opened(self) -> None:
        self.topics: set[str] = set()
        self.changed: set[str] = set()
        self.flusher: asyncio.Task[None] | None = None
        self.renewer = asyncio.create_task(self._renew())
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        await self._watch(query.get("topics", [""])[0].split(","))

    async def closed(self) -> None:
        tasks = [task for name in ("flusher", "renewer") if (task := getattr(self, name, None)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for topic in getattr(self, "topics", ()):
            try:
                await self.channel_layer.group_discard(group(topic), self.channel_name)
            except LAYER_ERRORS:
                return

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            topics = json.loads(text_data or "")["topics"]
        except (ValueError, KeyError, TypeError, RecursionError):
            await self.close(4400)
            return
        if isinstance(topics, list):
            await self._watch([topic for topic in topics if isinstance(topic, str)])

    async def live_changed(self, event: dict[str, Any]) -> None:
        self.changed.add(event["topic"])
        if self.flusher is None or self.flusher.done():
            self.flusher = asyncio.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        while self.changed:  # again: something may change while a slow browser is being told
            await asyncio.sleep(COALESCE_SECONDS)
            changed, self.changed = self.changed & self.topics, set()
            if changed:  # of what it watches still: a right may have ended meanwhile
                await self.send(json.dumps({"changed": sorted(changed)}))

    async def _watch(self, topics: list[str]) -> None:
        wanted = set(topics[:MOST_TOPICS])
        permitted = await in_thread(self._permitted, wanted)
        await self._leave(self.topics - permitted)
        self.topics = permitted
        await self._subscribe()
        await self.send(json.dumps({"watching": sorted(permitted)}))

    async def _subscribe(self) -> None:
        for topic in sorted(self.topics):
            try:
                await to_its_end(self.channel_layer.group_add(group(topic), self.channel_name))
            except LAYER_ERRORS:
                return  # the renewer tries again

    async def _renew(self) -> None:
        """Subscribe again, and leave the topics whose right has ended meanwhile.

        Once Redis is another than it was, the page is sent away: what was told while it was gone has reached nobody,
        and a page that connects anew fetches everything.
        """
        known = await redis_run()
        while True:
            await asyncio.sleep(RESUBSCRIBE_SECONDS)
            present = await redis_run()
            if known and present and present != known:
                await self.close(COME_AGAIN)
                return
            known = known or present
            try:
                await self._leave(self.topics - await in_thread(self._permitted, set(self.topics)))
            except (DatabaseError, *LAYER_ERRORS) as exc:
                log.warning("the topics of a page could not be looked at: %s", exc)
            await self._subscribe()

    async def _leave(self, topics: set[str]) -> None:
        self.topics = self.topics - topics
        for topic in topics:
            await to_its_end(self.channel_layer.group_discard(group(topic), self.channel_name))

    def _permitted(self, topics: set[str]) -> set[str]:
        return {topic for topic in topics if self._may(topic)}

    def _may(self, topic: str) -> bool:
        kind, _, key = topic.partition(".")
        if kind not in VERBS:
            return False
        rows = _rows(kind)
        if rows is None:
            return not key and allows(self.scope["user"], VERBS[kind])
        return visible(self.scope["user"], VERBS[kind], rows).filter(pk__in=row_ids([key])).exists()
